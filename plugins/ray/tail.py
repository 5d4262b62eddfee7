"""What follows the center: stateless operators, through which each release is taken until it gets to the sink."""

from __future__ import annotations

from dataclasses import dataclass

from actors import Call, Instance
from bench_engine import Refusal
from common import Shared
from plan import Stage
from recovery import Recovery, not_for_ever
from results import Results
from transport import Action, Failure, Ref
from workers import Head


@dataclass(eq=False)
class Release:
    """What the center released in one call, on its way."""

    out: Ref
    was_lost: Action
    """The data itself is gone."""
    charged: int = 0
    free: int = 0


class Tail:
    """The stages behind the center."""

    def __init__(self, shared: Shared, recovery: Recovery, results: Results, center: Stage) -> None:
        self._shared, self._recovery, self._results, self._center = shared, recovery, results, center
        self._under_way: set[Release] = set()

    def __len__(self) -> int:
        """How many releases are on their way."""
        return len(self._under_way)

    def take(self, out: Ref, was_lost: Action) -> None:
        """Takes what the center released to the sink."""
        self._submit(Release(out, was_lost))

    def _submit(self, release: Release) -> None:
        self._under_way.add(release)
        turn = next(self._shared.turns)
        path: list[Instance] = []
        for stage in self._shared.plan.tail:
            if (instance := self._shared.actors.pick(stage, turn)) is None:
                return self._shared.transport.later(lambda: self._submit(release))
            path.append(instance)
        origin, data = self._center.exit, release.out
        for instance in path:
            data = self._shared.actors.run(instance, Head((origin,)), [data])
            origin = instance.stage.exit
        self._recovery.watch(_Finishing(path, self, release, origin), data)

    def delivered(self, release: Release, origin: int, value: bytes) -> None:
        """It got through."""
        self._under_way.discard(release)
        self._results.deliver(origin, value)

    def lost(self, release: Release) -> None:
        """There is nothing left to be taken through."""
        self._under_way.discard(release)
        release.was_lost()

    def repeat(self, release: Release) -> None:
        """It was lost with something else."""
        release.free += 1
        not_for_ever(release.free, "what the center released")
        self._submit(release)

    def charge(self, release: Release, reason: str) -> None:
        """It failed itself."""
        release.charged += 1
        if release.charged <= self._shared.retries:
            self._shared.counts.retried += 1
            return self._submit(release)
        self._shared.transport.watch(release.out, lambda value, failure: self._give_up(release, reason, value, failure))

    def _give_up(self, release: Release, reason: str, value: bytes, failure: Failure | None) -> None:
        """Tombstones for what the tail could not finish."""
        if failure is not None:
            raise Refusal(f"what the center released was lost, and {reason}")
        self._under_way.discard(release)
        last = self._shared.plan.tail[-1].exit
        for node, _, part in self._shared.router.route(self._center.exit, value, 0):
            self._results.deliver(last, self._shared.workload.fail(node, part, reason))
        self._shared.log(f"what {self._center.name} released is given up: {reason}")


class _Finishing(Call):
    """A release on its way through the tail."""

    def __init__(self, path: list[Instance], tail: Tail, release: Release, origin: int) -> None:
        super().__init__([instance.incarnation for instance in path])
        self._tail, self._release, self._origin = tail, release, origin

    def succeeded(self, value: bytes) -> None:
        self._tail.delivered(self._release, self._origin, value)

    def failed(self, failure: Failure) -> None:
        if failure.object_lost:
            self._tail.lost(self._release)
        else:
            self._tail.charge(self._release, str(failure))

    def repeat(self) -> None:
        self._tail.repeat(self._release)

    def charge(self, reason: str) -> None:
        self._tail.charge(self._release, reason)
