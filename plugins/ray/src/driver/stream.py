"""The input, read in a thread of its own, and the phases that it passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench_worker import Channel, Json


class Clock:
    """Reports phases and remembers how long each took."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._marks = [("start-up", time.monotonic())]

    def phase(self, name: str, waits: str = "") -> None:
        """A phase begins, and the host is told; for `waits` see `Channel.phase`."""
        self._channel.phase(name, waits)
        self.mark(name)

    def mark(self, name: str) -> None:
        """As `phase` for those that the channel reports."""
        self._marks.append((name, time.monotonic()))

    def seconds(self) -> Json:
        """By phase."""
        ends = [at for _, at in self._marks[1:]] + [time.monotonic()]
        return {name: round(end - at, 3) for (name, at), end in zip(self._marks, ends, strict=True)}


def read(channel: Channel, clock: Clock, put: Callable[[bytes | None], None]) -> None:
    """Gives each batch of events to `put`, then `None`. What goes wrong ends the run."""

    def every_batch() -> None:
        try:
            clock.mark("steady")
            for batch in channel.events():
                put(batch)
            clock.mark("drain")
            put(None)
        except BaseException as error:
            channel.fatal(error)

    threading.Thread(target=every_batch, name="events", daemon=True).start()
