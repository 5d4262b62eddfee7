"""Results on their way to the host: each query is answered once, however often its answer was computed."""

from __future__ import annotations

from collections.abc import Callable

from bench_engine import DATA, HEARTBEAT, Tally, answered_sources, extents, seq
from common import Shared


class Results:
    """Knows which queries are still open."""

    def __init__(self, shared: Shared, tally: Tally, emit: Callable[[bytes], None]) -> None:
        self._shared, self._tally, self._emit = shared, tally, emit
        self._answered_sources = set(answered_sources(shared.plan.graph))
        self._open: set[int] = set()

    def expect(self, events: bytes) -> None:
        """The queries among these events are to be answered."""
        for at, _ in extents(events):
            if events[at + 4] in self._answered_sources and events[at + 5] != HEARTBEAT:
                self._open.add(seq(events, at))

    def deliver(self, origin: int, value: bytes) -> None:
        """Hands on what the last operator wrote, without what was answered before."""
        for _, _, part in self._shared.router.route(origin, value, 0):
            fresh = []
            for at, end in extents(part):
                if part[at + 5] != HEARTBEAT and (number := seq(part, at)) in self._open:
                    self._open.discard(number)
                    self._shared.counts.tombstones += part[at + 5] != DATA
                    fresh.append(part[at:end])
            batch = b"".join(fresh)
            self._tally.result_batch(batch)
            self._emit(batch)
