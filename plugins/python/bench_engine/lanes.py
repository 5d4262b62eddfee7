"""Where calls wait for each other, and what is kept so that an instance that was lost can be made anew.

An instance with state is rebuilt from its log: the inputs of every call of it that was answered, in any order, because
no operator relies on one. What comes out meanwhile was handed on before and is dropped. Calls that were lost go again
behind that. They may put out once more what a call that was answered had put out already, having run behind them: the
lane remembers what was handed on while a call was under way.
"""

from __future__ import annotations

import asyncio
import collections
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from bench_engine.frames import extents, seq
from bench_engine.graph import Json, Stage, inputs

LONGEST = 4 << 20
"""Bytes that waiting batches are joined up to."""
LENGTH = struct.Struct("<I")

Mark = tuple[int, int]
"""What an output has once for each record: sequence number and port."""


@dataclass(eq=False)
class Call:
    """A batch at a stage; or none, for what its instance still holds."""

    lane: Lane
    instance: int
    batch: bytes | None
    weight: int = 1
    """Batches in it."""
    attempt: int = 1
    given_up: bool = False
    """Its records go as tombstones."""
    since: int = 0
    """Calls of its lane that had been answered when it was first begun."""
    replay: asyncio.Future[tuple[Any, BaseException | None]] | None = None
    """To settle, instead of handing on what comes out."""


class Log:
    """What an instance with state has seen, in a file that has no name: it is as long as the stream."""

    def __init__(self, folder: str) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def add(self, batch: bytes) -> None:
        """Of a call that was answered."""
        if batch:
            self._file.write(LENGTH.pack(len(batch)) + batch)

    def batches(self) -> Iterator[bytes]:
        """All of it, joined. Nothing may be added meanwhile."""
        self._file.seek(0)
        parts, size = list[bytes](), 0
        while head := self._file.read(LENGTH.size):
            part = self._file.read(LENGTH.unpack(head)[0])
            if parts and size + len(part) > LONGEST:
                yield b"".join(parts)
                parts, size = [], 0
            parts.append(part)
            size += len(part)
        if parts:
            yield b"".join(parts)

    def __del__(self) -> None:
        self._file.close()


@dataclass(eq=False)
class Lane:
    """Where calls wait for each other: an instance of a stage with state, or all of one without."""

    stage: Stage
    instance: int
    limit: int
    log: Log | None = None
    """With state, where what is lost can be made anew."""
    feeds_state: frozenset[int] = frozenset()
    """Ports of what has no answer of its own here."""
    waiting: collections.deque[bytes] = field(default_factory=collections.deque)
    under_way: int = 0
    lost: collections.deque[Call] = field(default_factory=collections.deque)
    """Calls that go again, one by one: should one be lost once more, it is known which."""
    is_down: bool = False
    """Its instance was lost, and is not there again."""
    _unanswered: dict[Call, None] = field(default_factory=dict)
    _answered: int = 0
    _handed_on: collections.deque[tuple[int, set[Mark]]] = field(default_factory=collections.deque)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or waits."""
        return not (self.under_way or self.waiting or self.lost or self.is_down)

    def join(self) -> tuple[bytes, int]:
        """The next call's batch, of so many that waited: all for one that keeps state, else an equal share."""
        at_once = self.stage.concurrency if self.stage.stateful else self.stage.instances
        share = -(-len(self.waiting) // at_once)
        parts, size = [self.waiting.popleft()], 0
        while len(parts) < share and (size := size + len(parts[-1])) + len(self.waiting[0]) <= LONGEST:
            parts.append(self.waiting.popleft())
        return b"".join(parts), len(parts)

    def begins(self, call: Call) -> None:
        """A call is under way."""
        if self.log is not None and call not in self._unanswered:
            call.since = self._answered
            self._unanswered[call] = None

    def answers(self, call: Call, output: bytes) -> bytes:
        """A call was answered with that. Returns what of it was not handed on before."""
        if self.log is None:
            return output
        if call.attempt > 1 or call.given_up:
            known = set[Mark]().union(*(marks for _, marks in self._handed_on))
            output = b"".join(output[at:end] for at, end in extents(output) if _mark(output, at) not in known)
        self.log.add(call.batch or b"")
        del self._unanswered[call]
        self._handed_on.append((self._answered, {_mark(output, at) for at, _ in extents(output)}))
        self._answered += 1
        oldest = next(iter(self._unanswered)).since if self._unanswered else self._answered
        while self._handed_on and self._handed_on[0][0] < oldest:
            self._handed_on.popleft()
        return output

    def builds_state(self, batch: bytes) -> bool:
        """Whether a call of this batch has to get through: others' answers are made of something in it."""
        return not self.stage.answered or any(batch[at + 4] in self.feeds_state for at, _ in extents(batch))


def _mark(batch: bytes, at: int) -> Mark:
    return seq(batch, at), batch[at + 4]


def feeds_state(graph: Json, stage: Stage) -> frozenset[int]:
    """Ports of a stage at which every instance gets what comes, so that none of it is answered."""
    entering = inputs(graph, stage.nodes[0])
    return frozenset(edge["to_port"] for edge in entering if edge["partition"] == "broadcast")


def keeps_state(graph: Json, stage: Stage) -> bool:
    """Whether an instance has to be given again what it had seen. Some only count what is under way."""
    return any(graph["nodes"][node]["state"] != "none" for node in stage.nodes)
