"""Batches of events, from their submission until the center has taken them in.

A batch is the unit of recovery: it is submitted as one chain of calls, and if a worker dies the chain is submitted
again. What cannot be processed, however often it is tried, goes on as tombstones.
"""

from __future__ import annotations

import collections
import itertools

from actors import Call, Incarnation, Instance
from bench_engine import Refusal, with_port
from center import Center, Input
from common import REFS_PER_CALL, Addressed, Batch, Shared
from front import Front, Written
from recovery import Recovery, not_for_ever
from results import Results
from transport import Failure, Ref
from workers import KeysRewritten, StateLost


class Submission:
    """All batches."""

    def __init__(
        self, shared: Shared, recovery: Recovery, front: Front, center: Center | None, results: Results
    ) -> None:
        self._shared, self._recovery, self._front = shared, recovery, front
        self._center, self._results = center, results
        self._under_way: dict[int, Batch] = {}
        self._waiting: collections.deque[Batch] = collections.deque()
        """For an actor that is down."""
        self._replays: set[Call] = set()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many batches are under way, and replays."""
        return len(self._under_way) + len(self._replays)

    @property
    def is_waiting(self) -> bool:
        """Whether some batch cannot be submitted now."""
        return bool(self._waiting)

    def add(self, entries: Addressed) -> None:
        """Submits the next batch."""
        batch = Batch(next(self._numbers), entries)
        self._under_way[batch.number] = batch
        self._submit(batch)

    def resume(self) -> None:
        """An actor is up again."""
        waiting, self._waiting = self._waiting, collections.deque()
        for batch in waiting:
            self._submit(batch)

    def replay(self, inputs: list[Input], but: Call | None) -> None:
        """Gives the center's successor every input again, but that of the call at fault."""
        self._replays.clear()
        culprit = but.batch if isinstance(but, _Chain) else None
        inputs = [given for given in inputs if given.batch is not culprit]
        taken_in = [given for given in inputs if given.batch.number not in self._under_way]
        for at in range(0, len(taken_in), REFS_PER_CALL):
            self._replay_together(taken_in[at : at + REFS_PER_CALL])
        for given in inputs:
            if given.batch.number in self._under_way:
                self._enter_center(given.batch, given.written, [])

    # ── The way of a batch ───────────────────────────────────────────────────────────────────────────

    def _submit(self, batch: Batch) -> None:
        if self._center is not None:
            self._center.forget(batch)
            if not self._center.is_up:
                self._waiting.append(batch)
                return
        if batch.given_up > 1:
            return self._past_the_front(batch)
        chosen = self._front.choose(batch.entries)
        if chosen is None:
            self._waiting.append(batch)
            return
        path, written = self._front.submit(batch.entries, chosen)
        self._enter_center(batch, written, path)

    def _enter_center(self, batch: Batch, written: Written, path: list[Instance]) -> None:
        passed = [instance.incarnation for instance in path]
        if self._center is None:
            origins = [origin for origin, _ in written]
            self._recovery.watch_all(_ToSink(passed, self, batch, origins), [data for _, data in written])
            return
        self._center.keep(Input(batch, written))
        out, seqs = self._center.send(written)
        self._recovery.watch(_ToCenter([*passed, self._center.instance.incarnation], self, batch, out), seqs)

    def _past_the_front(self, batch: Batch) -> None:
        """Hands tombstones straight to the center, where the front cannot even pass those on."""
        plan = self._shared.plan
        if plan.center is None:
            for _, part in batch.entries:
                self._results.deliver(plan.front[-1].exit, part)
            self._under_way.pop(batch.number, None)
            return
        edge = plan.center.inputs[0]
        self._enter_center(batch, [(~edge["to"], with_port(part, edge["to_port"])) for _, part in batch.entries], [])

    def _replay_together(self, inputs: list[Input]) -> None:
        """The inputs of batches that were taken in before go again in one call."""
        assert self._center is not None
        out, seqs = self._center.send([pair for given in inputs for pair in given.written])
        batches = [given.batch for given in inputs]
        replay = _Replay([self._center.instance.incarnation], self, batches, out)
        self._replays.add(replay)
        self._recovery.watch(replay, seqs)

    # ── What becomes of it ───────────────────────────────────────────────────────────────────────────

    def delivered(self, batch: Batch, origins: list[int], values: list[bytes]) -> None:
        """It came out of a front with no center behind it."""
        self._under_way.pop(batch.number, None)
        for origin, value in zip(origins, values, strict=True):
            self._results.deliver(origin, value)

    def taken_in(self, batch: Batch, out: Ref, seqs: list[int]) -> None:
        """The center has it."""
        assert self._center is not None
        self._under_way.pop(batch.number, None)
        self._center.release(out, seqs)

    def replayed(self, replay: Call, out: Ref, seqs: list[int]) -> None:
        """The center's successor has what its predecessor had."""
        assert self._center is not None
        self._replays.discard(replay)
        self._center.release(out, seqs)

    def failed(self, call: Call, batch: Batch, failure: Failure) -> None:
        """A call of its chain failed, and no process died for it."""
        cause = failure.cause
        if isinstance(cause, StateLost):
            if not self._recovery.state_lost(call, cause):
                self.repeat(batch)
        elif isinstance(cause, KeysRewritten):
            self._front.predict_keys = False
            self._submit(batch)
        elif failure.object_lost:
            self.repeat(batch)
        else:  # The operator itself refused: trying again would not help.
            self._give_up(batch, str(failure))

    def repeat(self, batch: Batch) -> None:
        """It was lost with something else."""
        batch.free += 1
        not_for_ever(batch.free, f"batch {batch.number}")
        self._submit(batch)

    def repeat_one_by_one(self, replay: Call, batches: list[Batch]) -> None:
        """Batches whose replay failed go each by its own, which shows what is wrong."""
        self._replays.discard(replay)
        for batch in batches:
            self._under_way[batch.number] = batch
            self.repeat(batch)

    def charge(self, batch: Batch, reason: str) -> None:
        """It failed itself."""
        batch.charged += 1
        if batch.charged <= self._shared.retries:
            self._shared.counts.retried += 1
            self._submit(batch)
        else:
            self._give_up(batch, reason)

    def _give_up(self, batch: Batch, reason: str) -> None:
        """Its records go again as tombstones: operators that order or pair have to see each of them."""
        batch.given_up += 1
        self._shared.log(f"batch {batch.number} is given up: {reason}")
        if batch.given_up > 2:
            raise Refusal(f"even the tombstones of batch {batch.number} could not be processed: {reason}")
        if batch.given_up == 1:
            workload = self._shared.workload
            batch.entries = [(node, workload.fail_input(node, part, reason)) for node, part in batch.entries]
        self._submit(batch)


class _Chain(Call):
    """The calls of one batch."""

    def __init__(self, incarnations: list[Incarnation], submission: Submission, batch: Batch) -> None:
        super().__init__(incarnations)
        self.submission, self.batch = submission, batch

    def failed(self, failure: Failure) -> None:
        self.submission.failed(self, self.batch, failure)

    def repeat(self) -> None:
        self.submission.repeat(self.batch)

    def charge(self, reason: str) -> None:
        self.submission.charge(self.batch, reason)


class _ToSink(_Chain):
    """Through a front with no center behind it."""

    def __init__(
        self, incarnations: list[Incarnation], submission: Submission, batch: Batch, origins: list[int]
    ) -> None:
        super().__init__(incarnations, submission, batch)
        self._origins = origins

    def succeeded(self, value: list[bytes]) -> None:
        self.submission.delivered(self.batch, self._origins, value)


class _ToCenter(_Chain):
    """Through the front and into the center."""

    def __init__(self, incarnations: list[Incarnation], submission: Submission, batch: Batch, out: Ref) -> None:
        super().__init__(incarnations, submission, batch)
        self._out = out

    def succeeded(self, value: list[int]) -> None:
        self.submission.taken_in(self.batch, self._out, value)


class _Replay(Call):
    """Inputs of many batches into the center's successor."""

    def __init__(self, incarnations: list[Incarnation], submission: Submission, batches: list[Batch], out: Ref) -> None:
        super().__init__(incarnations)
        self._submission, self._batches, self._out = submission, batches, out

    def succeeded(self, value: list[int]) -> None:
        self._submission.replayed(self, self._out, value)

    def failed(self, failure: Failure) -> None:
        self.repeat()

    def repeat(self) -> None:
        self._submission.repeat_one_by_one(self, self._batches)

    def charge(self, reason: str) -> None:
        self.repeat()
