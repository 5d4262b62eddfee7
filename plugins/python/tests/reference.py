"""The smallest right engine, one thread that runs everything in order: what tests of other engines compare with.

Whoever imports this was called with: library, open spec, a file of batches of events, each behind its length.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from bench_engine import HEADER_LEN, HEARTBEAT, Workload, chains, extents, seq
from bench_engine.workload import Delivery

LIBRARY, OPEN, EVENTS = sys.argv[1:4]
WORKLOAD = Workload(LIBRARY, OPEN)

Answers = dict[int, tuple[int, bytes]]
"""Kind and body, by sequence number."""


def _batches() -> Iterator[bytes]:
    with open(EVENTS, "rb") as file:
        while head := file.read(4):
            yield file.read(struct.unpack("<I", head)[0])


BATCHES = list(_batches())


def records(batch: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Sequence number, kind and body of each."""
    for at, _ in extents(batch):
        length = struct.unpack_from("<I", batch, at)[0]
        if batch[at + 5] != HEARTBEAT:
            yield seq(batch, at), batch[at + 5], batch[at + HEADER_LEN :][:length]


def _right_answers() -> Answers:
    found: Answers = {}
    router = WORKLOAD.router(1)
    operators = {chain[0]: (chain[-1], WORKLOAD.operator(chain)) for chain in chains(WORKLOAD.graph)}

    def deliver(deliveries: list[Delivery]) -> None:
        for node, _, batch in deliveries:
            if node in operators:
                last, operator = operators[node]
                deliver(router.route(last, operator.process(batch), 0))
            else:
                found.update({number: (kind, body) for number, kind, body in records(batch)})

    for batch in BATCHES:
        deliver(router.route_events(batch, 0))
    for last, operator in operators.values():
        deliver(router.route(last, operator.finish(), 0))
    return found


RIGHT = _right_answers()
