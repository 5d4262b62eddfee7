"""What went in and what came out."""

from __future__ import annotations

import threading

from bench_engine.frames import FAILED, HEARTBEAT, frames
from bench_engine.graph import Json, answered_sources


class Tally:
    """Counts what went in and what came out: an exit status of 0 proves nothing. Any thread."""

    def __init__(self, graph: Json) -> None:
        self._answered = set(answered_sources(graph))
        self._lock = threading.Lock()
        self.events = self.others = self.results = self.failed = 0

    def event_batch(self, batch: bytes) -> None:
        """Takes note of events that came from the host."""
        ports = [port for port, kind in frames(batch) if kind != HEARTBEAT]
        answered = sum(port in self._answered for port in ports)
        with self._lock:
            self.events += answered
            self.others += len(ports) - answered

    def result_batch(self, batch: bytes) -> None:
        """Takes note of results on their way to the host."""
        kinds = [kind for _, kind in frames(batch) if kind != HEARTBEAT]
        with self._lock:
            self.results += len(kinds)
            self.failed += kinds.count(FAILED)

    def metrics(self) -> Json:
        """For the record: ``events`` to be answered, ``other_events``, ``results``, ``failed``."""
        return {
            "events": self.events,
            "other_events": self.others,
            "results": self.results,
            "failed": self.failed,
        }
