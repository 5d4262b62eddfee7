"""The end of the stream: every operator with state gives out what it holds."""

from __future__ import annotations

from typing import Any

from actors import Call, Incarnation
from bench_engine import Refusal
from center import Center
from common import Shared
from front import Front, Written
from recovery import FREE_TRIES, Recovery
from results import Results
from transport import Failure, Ref
from workers import StateLost


class Flush:
    """Asks until everyone has answered. An actor that is asked again gives out the same again."""

    def __init__(
        self, shared: Shared, recovery: Recovery, front: Front, center: Center | None, results: Results
    ) -> None:
        self._shared, self._recovery, self._front = shared, recovery, front
        self._center, self._results = center, results
        self._asking: _Asking | None = None
        """The one under way. The answer to another does not count: what it said may be lost again."""
        self._tries = 0
        self._failure = ""
        self.is_done = False

    def submit(self) -> None:
        """Asks, unless it has or somebody is down. Everything that was sent has to be answered before."""
        if self._asking or self.is_done or not self._everyone_is_up():
            return
        self._tries += 1
        if self._tries > FREE_TRIES:
            raise Refusal(f"the end of the stream could not be flushed: {self._failure or 'workers kept dying'}")
        path, written = self._front.submit([], self._front.everyone(), finish=True)
        passed = [instance.incarnation for instance in path]
        if self._center is None:
            self._asking = _Asking(passed, self, written, None)
            self._recovery.watch_all(self._asking, [data for _, data in written])
        else:
            out, seqs = self._center.send(written, finish=True)
            self._asking = _Asking([*passed, self._center.instance.incarnation], self, written, out)
            self._recovery.watch(self._asking, seqs)

    def drop(self, asking: Call | None = None) -> None:
        """What was asked is lost; whoever it was that was asked, if nobody is named."""
        if asking is None or asking is self._asking:
            self._asking = None

    def again(self) -> None:
        """What was answered is lost."""
        self._asking, self.is_done = None, False

    def answered(self, asking: Call, written: Written, out: Ref | None, value: Any) -> None:
        """Hands on what was held."""
        self.is_done = self.is_done or asking is self._asking
        if self._center is not None:
            self._center.release(out, value)
            return
        for (origin, _), data in zip(written, value, strict=True):
            self._results.deliver(origin, data)

    def failed(self, asking: Call, failure: Failure) -> None:
        """It failed, and no process died for it."""
        self._failure = str(failure)
        cause = failure.cause
        if not (isinstance(cause, StateLost) and self._recovery.state_lost(asking, cause)):
            self._shared.transport.later(lambda: self.drop(asking))

    def _everyone_is_up(self) -> bool:
        actors = self._shared.actors
        front = [instance for stage in self._shared.plan.front for instance in actors.of(stage)]
        return all(instance.up for instance in front) and (self._center is None or self._center.is_up)


class _Asking(Call):
    """A flush under way."""

    def __init__(self, incarnations: list[Incarnation], flush: Flush, written: Written, out: Ref | None) -> None:
        super().__init__(incarnations)
        self._flush, self._written, self._out = flush, written, out

    def succeeded(self, value: Any) -> None:
        self._flush.answered(self, self._written, self._out, value)

    def failed(self, failure: Failure) -> None:
        self._flush.failed(self, failure)

    def repeat(self) -> None:
        self._flush.drop(self)

    def charge(self, reason: str) -> None:
        self._flush.drop(self)
