"""Actors, the processes that they had, and the calls that depend on those."""

from __future__ import annotations

import collections
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from bench_engine import Json
from plan import Plan, Stage
from transport import Actor, Failure, Ref
from workers import Head


class Call(ABC):
    """Something submitted that can be lost with the process of an actor."""

    order = 0
    """Place among all calls; set when it is watched."""

    def __init__(self, incarnations: list[Incarnation]) -> None:
        self.incarnations = incarnations

    @abstractmethod
    def succeeded(self, value: Any) -> None:
        """Its result is there."""

    @abstractmethod
    def failed(self, failure: Failure) -> None:
        """It failed, and no process died for it."""

    @abstractmethod
    def repeat(self) -> None:
        """Submits it again, free of charge: it was lost with something else."""

    @abstractmethod
    def charge(self, reason: str) -> None:
        """It was the one running when a process died: counts a failure, then repeats it or gives it up."""


@dataclass(eq=False)
class Incarnation:
    """One process of one actor."""

    instance: Instance
    under_way: set[Call] = field(default_factory=set)
    lost: list[Call] = field(default_factory=list)
    replaced: bool = False
    """The next process has answered."""
    blameless: bool = False
    """Nothing was running when it ended, as far as is known: nobody is charged."""


@dataclass(eq=False)
class Instance:
    """One actor of a stage."""

    stage: Stage
    index: int
    actor: Actor
    node: str = ""
    pid: int = 0
    up: bool = True
    documents_sent: int = 0
    incarnation: Incarnation = field(init=False)

    def __post_init__(self) -> None:
        self.incarnation = Incarnation(self)

    def renew(self) -> None:
        """Its process is gone, and with it what that had seen."""
        self.incarnation, self.up, self.documents_sent = Incarnation(self), False, 0


@dataclass
class NodeAccount:
    """A node that has operators, or had."""

    host: str
    processes: set[int] = field(default_factory=set)
    operators: int = 0
    """At most, at one time."""


class Actors:
    """All of a run, and where they ran."""

    def __init__(self, plan: Plan, actors: dict[str, list[Actor]]) -> None:
        self._of = {
            stage: [Instance(stage, i, actor) for i, actor in enumerate(actors[stage.name])] for stage in plan.stages
        }
        self.everyone = [instance for some in self._of.values() for instance in some]
        self.center = self._of[plan.center][0] if plan.center else None
        self.calls: collections.Counter[str] = collections.Counter()
        """By node."""
        self._nodes: dict[str, NodeAccount] = {}

    def of(self, stage: Stage) -> list[Instance]:
        """The instances of a stage."""
        return self._of[stage]

    def pick(self, stage: Stage, turn: int) -> Instance | None:
        """Any instance that is up."""
        up = [instance for instance in self._of[stage] if instance.up]
        return up[turn % len(up)] if up else None

    def run(self, instance: Instance, head: Head, data: list[Ref]) -> Ref:
        """Submits a call."""
        self.calls[instance.node] += 1
        return instance.actor.run(head, data)

    def run_center(self, instance: Instance, head: Head, data: list[Ref]) -> tuple[Ref, Ref]:
        """Submits a call to the center: what it releases, and the sequence numbers of that."""
        self.calls[instance.node] += 1
        return instance.actor.run_center(head, data)

    def started(self, instance: Instance, ready: tuple[int, str, str]) -> None:
        """An instance runs in a new process, as that says."""
        instance.pid, instance.node, host = ready
        account = self._nodes.setdefault(instance.node, NodeAccount(host))
        account.processes.add(instance.pid)
        here = sum(len(other.stage.nodes) for other in self.everyone if other.node == instance.node)
        account.operators = max(account.operators, here)

    def stages(self) -> dict[str, int]:
        """How many actors each stage has."""
        return {stage.name: len(some) for stage, some in self._of.items()}

    def nodes(self) -> dict[str, Json]:
        """Each node that had operators at some time, for `extra`: how many at most, their calls and processes."""
        return {
            node: {
                "operators": account.operators,
                "calls": self.calls[node],
                "processes": sorted(account.processes),
                "host": account.host,
            }
            for node, account in self._nodes.items()
        }
