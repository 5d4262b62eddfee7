"""The one actor that sees the whole stream: what it was given, so that a successor can be given it again, and what it
has released, so that nothing is released twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors import Instance
from common import Batch, Shared
from front import Written
from recovery import Recovery
from tail import Tail
from transport import Ref
from workers import Head


@dataclass(eq=False)
class Input:
    """What a batch of events became in the front."""

    batch: Batch
    written: Written


class Center:
    """The center of a run that has one."""

    def __init__(
        self, shared: Shared, recovery: Recovery, instance: Instance, tail: Tail, flush_again: Callable[[], None]
    ) -> None:
        self.instance = instance
        self._shared, self._recovery, self._tail, self._flush_again = shared, recovery, tail, flush_again
        self._inputs: dict[int, Input] = {}
        self._generation = 0
        self._released: set[int] = set()

    @property
    def is_up(self) -> bool:
        """Whether it takes calls."""
        return self.instance.up

    def send(self, written: Written, finish: bool = False) -> tuple[Ref, Ref]:
        """Submits a call. Returns what it will release, and the sequence numbers of that."""
        head = Head(tuple(origin for origin, _ in written), generation=self._generation, finish=finish)
        return self._shared.actors.run_center(self.instance, head, [data for _, data in written])

    def keep(self, given: Input) -> None:
        """Remembers an input for a successor."""
        self._inputs[given.batch.number] = given

    def forget(self, batch: Batch) -> None:
        """A batch goes through the front anew: what it became there before is of no use."""
        self._inputs.pop(batch.number, None)

    def release(self, out: Ref, seqs: list[int]) -> None:
        """Takes what the center released through the tail, if anything of it is new."""
        fresh = [seq for seq in seqs if seq not in self._released]
        if fresh:
            self._released.update(fresh)
            self._tail.take(out, lambda: self._release_was_lost(seqs))

    def begin_anew(self) -> list[Input]:
        """A successor is up. Its operators put records in order and drop repetitions, so it is to be given every input
        so far, which this returns."""
        self._generation += 1
        self._shared.counts.replays += 1
        self.instance.up = True
        self.instance.actor.begin(self._generation, set(self._released))
        return [self._inputs[number] for number in sorted(self._inputs)]

    def _release_was_lost(self, seqs: list[int]) -> None:
        """A node died with it, so it has to be computed again."""
        self._released.difference_update(seqs)
        self._flush_again()
        if self.is_up:
            self._shared.log(f"{self.instance.stage.name} starts anew: what it had released was lost with a node")
            self.instance.incarnation.blameless = True
            self._recovery.down(self.instance.incarnation)
