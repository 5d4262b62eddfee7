"""Batches are frames, one after the other. What is said about a frame is in its header."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER_LEN = 40
SPAN_LEN = 32
DATA, FAILED, HEARTBEAT = 0, 1, 2
PREFIX = struct.Struct("<IBBH")


def extents(batch: bytes) -> Iterator[tuple[int, int]]:
    """Where each frame of a batch begins and ends."""
    at = 0
    while at < len(batch):
        body, _, _, spans = PREFIX.unpack_from(batch, at)
        end = at + HEADER_LEN + body + SPAN_LEN * spans
        yield at, end
        at = end


def frames(batch: bytes) -> Iterator[tuple[int, int]]:
    """(port, kind) of each frame of a batch."""
    at = 0
    while at < len(batch):
        body, port, kind, spans = PREFIX.unpack_from(batch, at)
        yield port, kind
        at += HEADER_LEN + body + SPAN_LEN * spans


def seq(batch: bytes, at: int) -> int:
    """The sequence number of the frame that begins at ``at``."""
    return int.from_bytes(batch[at + 8 : at + 16], "little")


def with_port(batch: bytes, port: int) -> bytes:
    """The batch as if it had been written for another input."""
    output = bytearray(batch)
    for at, _ in extents(batch):
        output[at + 4] = port
    return bytes(output)
