"""The channel to the host: two descriptors of its own, so that whatever a runtime prints is not taken for a message.

Every number is little endian. Down: u32 length, then a batch of events; length 0 is the end. The first message down is
the JSON of the run. Up: u32 length of the payload, one byte that names the message, the payload. ``R`` results, ``P``
phase, ``L`` log line, ``M`` metrics, ``C`` workers' clocks, ``E`` error, ``D`` done.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import NoReturn

from bench_engine.graph import Json

EVENTS_FD = 3
MESSAGES_FD = 4


class Refusal(Exception):
    """Ends the run with an error that the user should read as it is written, without a traceback."""

    def __init__(self, message: str, kind: str = "runtime", remedy: str = "") -> None:
        super().__init__(message)
        self.kind, self.remedy = kind, remedy


def _plain(text: str) -> str:
    """Half a character, as in the name of a file that is no UTF-8, is none outside of Python: it is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


class HostGone(Exception):
    """The host closed the channel in the middle of the stream."""


class Channel:
    """Both directions. Reading belongs to one thread; any thread may write."""

    # A runtime that ships this module may import it anew, in place: what was raised before is of these classes.
    _refusal, _host_gone = Refusal, HostGone

    def __init__(self, events_fd: int = EVENTS_FD, messages_fd: int = MESSAGES_FD) -> None:
        for descriptor in (events_fd, messages_fd):
            os.set_inheritable(descriptor, False)  # or a child would keep the channel open
        self._events = os.fdopen(events_fd, "rb", buffering=1 << 16)
        self._messages = messages_fd
        self._lock = threading.Lock()
        self._begun = {"start-up": time.monotonic()}
        os.register_at_fork(after_in_child=self._forget)
        self.config: Json = json.loads(self._read() or b"{}")

    def events(self) -> Iterator[bytes]:
        """Batches of events. **The first one starts the host's clock**: be deployed and warm before."""
        self.phase("steady")
        while (batch := self._read()) is not None:
            yield batch
        self.phase("drain")

    def emit(self, batch: bytes) -> None:
        """Hands results to the sink, which stamps the time."""
        if batch:
            self._write(b"R", batch)

    def phase(self, name: str, detail: str = "") -> None:
        """Says that a phase begins: ``deploy``, ``warm-up``, ``teardown``; the others report themselves.

        ``detail`` is what is being waited for, as a clause that "for 25 s" may follow: "Ray has not answered". A
        run that is timed out says so. Call it again in the same phase when it waits for something else.
        """
        self._begun.setdefault(name, time.monotonic())
        self._write_json(b"P", {"phase": name, "detail": _plain(detail)})

    def phase_seconds(self) -> Json:
        """How long each phase took so far, for the record."""
        ends = [*list(self._begun.values())[1:], time.monotonic()]
        return {name: round(end - at, 3) for (name, at), end in zip(self._begun.items(), ends, strict=True)}

    def log(self, message: str, level: str = "info") -> None:
        """A line for the host's log. ``error``, ``warn``, ``info``, ``debug`` or ``trace``."""
        self._write_json(b"L", {"level": level, "message": _plain(message)})

    def metrics(self, facts: Json) -> None:
        """Facts for the record's ``extra``; later calls add to earlier ones."""
        self._write_json(b"M", facts)

    def clocks(self, told: Json | None) -> None:
        """What ``clocks.compare`` found, as often as it is known anew."""
        if told is not None:
            self._write_json(b"C", told)

    def error(self, message: str, kind: str = "runtime", remedy: str = "") -> None:
        """Says why the run ends. Leave the process afterwards."""
        self._write_json(b"E", {"kind": kind, "message": _plain(message), "remedy": _plain(remedy)})

    def done(self) -> None:
        """Says that every result was emitted and nothing is left running."""
        self._write(b"D", b"")

    def fatal(self, error: BaseException) -> NoReturn:
        """Reports an exception from any thread and ends the process: a lost thread must not look like a
        quiet, complete run."""
        try:
            if isinstance(error, (Refusal, self._refusal)):
                self.error(str(error), error.kind, error.remedy)
            elif not isinstance(error, (HostGone, self._host_gone)):
                traceback.print_exception(error)
                self.error(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(70)

    def _forget(self) -> None:
        """In a forked process, which must not keep the channel open when the driver is gone."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (self._events.fileno(), self._messages):
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)

    def _read(self) -> bytes | None:
        length = struct.unpack("<I", self._exactly(4))[0]
        return self._exactly(length) if length else None

    def _exactly(self, count: int) -> bytes:
        data = self._events.read(count)
        if len(data) != count:
            raise HostGone
        return data

    def _write_json(self, kind: bytes, value: Json) -> None:
        self._write(kind, json.dumps(value).encode())

    def _write(self, kind: bytes, payload: bytes) -> None:
        with self._lock:
            self._write_all(struct.pack("<I", len(payload)) + kind, payload)

    def _write_all(self, head: bytes, payload: bytes) -> None:
        written = os.writev(self._messages, [head, payload])
        rest = memoryview(head + payload)[written:] if written < len(head) + len(payload) else memoryview(b"")
        while rest:
            rest = rest[os.write(self._messages, rest) :]
