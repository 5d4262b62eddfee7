"""The graph as stages: what runs in one actor, and how a batch of events passes through them.

    side ──broadcast──► front ──► center ──► tail ──► sink

* *front*: everything that a query passes before the first operator that sees the whole stream. What a batch of
  events makes there depends on that batch and on the broadcast documents alone, so a batch is the unit that is
  submitted, lost and repeated.
* *side*: what only makes documents for broadcast inputs.
* *center*: the operators with one state for the whole stream, in one actor.
* *tail*: stateless operators after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import bench_engine
from bench_engine import Json, Refusal

FUSIONS = ("all", "chains", "none")
"""The first is the default: a call costs over a millisecond of the driver and two workers, most operators less."""


@dataclass(eq=False)
class Stage:
    """Operators that share an actor, and how many such actors there are."""

    name: str
    chains: list[list[int]]
    instances: int
    state: str
    inputs: list[Json] = field(default_factory=list)
    """Edges from outside."""
    concurrency: int | None = None
    """Calls that an actor may have under way at once, where the graph says how many: they wait for a service."""
    affinity: int | None = None
    """Which machine has what it reads, of several: this number, modulo theirs."""

    @property
    def nodes(self) -> list[int]:
        """All operators in it."""
        return [node for chain in self.chains for node in chain]

    @property
    def exit(self) -> int:
        """The operator whose output leaves the stage."""
        return self.chains[-1][-1]

    @property
    def keyed(self) -> list[Json]:
        """Edges that choose the instance by key."""
        return [edge for edge in self.inputs if edge["partition"] == "key"]

    @property
    def broadcast(self) -> bool:
        """Whether every instance needs the documents."""
        return any(edge["partition"] == "broadcast" for edge in self.inputs)


class Plan:
    """All stages, in topological order within each section."""

    def __init__(self, graph: Json, parallelism: int, fusion: str, nodes: int = 1) -> None:
        self.graph, self.parallelism, self._nodes = graph, parallelism, nodes
        lines = _lines(graph, fusion)
        center = [line for line in lines if _state(graph, line) == "global"]
        after = _reachable(graph, [line[-1] for line in center])
        only_broadcast = _only_broadcast(graph)
        front = [n for n in lines if n not in center and n[0] not in after and n[0] not in only_broadcast]
        behind = [line for line in lines if line[0] in after and line not in center]
        if len(center) > 1 or any(_state(graph, line) != "none" for line in behind):
            raise Refusal("this graph has state behind its single-instance operators", "unsupported")
        groups = [[line] for line in front]
        # What waits for a service is counted in an actor of its own; what is at home on one machine goes there alone.
        together = [
            line for line in front if bench_engine.concurrency(graph, line) is None and self._affinity(line) is None
        ]
        if fusion == "all" and _one_exit(graph, together):
            groups = [together, *([line] for line in front if line not in together)]
        self.side = [self._stage([line]) for line in lines if line[0] in only_broadcast]
        self.front = [self._stage(group) for group in groups]
        self.center = self._stage(center[:1]) if center else None
        self.tail = [self._stage([line]) for line in behind]
        self.sinks = {node["id"] for node in graph["nodes"] if node["role"] == "sink"}
        self.by_node = {node: stage for stage in self.stages for node in stage.nodes}

    @property
    def stages(self) -> list[Stage]:
        """Every stage."""
        return [*self.side, *self.front, *([self.center] if self.center else []), *self.tail]

    def is_broadcast(self, node: int, port: int) -> bool:
        """Whether every instance of `node` needs what comes in at `port`."""
        entering = (edge for edge in self.graph["edges"] if edge["to"] == node and edge["to_port"] == port)
        return any(edge["partition"] == "broadcast" for edge in entering)

    def _stage(self, chains: list[list[int]]) -> Stage:
        nodes = [node for chain in chains for node in chain]
        names = [self.graph["nodes"][node]["name"] for node in nodes]
        entering = [edge for edge in self.graph["edges"] if edge["to"] in nodes and edge["from"] not in nodes]
        instances = bench_engine.instances(self.graph, nodes[0], self.parallelism)
        calls, affinity = bench_engine.concurrency(self.graph, nodes), self._affinity(nodes)
        return Stage("+".join(names), chains, instances, _state(self.graph, nodes), entering, calls, affinity)

    def _affinity(self, nodes: list[int]) -> int | None:
        """On one machine everything is at home."""
        found: set[int | None] = {self.graph["nodes"][node].get("affinity") for node in nodes}
        return found.pop() if self._nodes > 1 and len(found) == 1 else None


def _lines(graph: Json, fusion: str) -> list[list[int]]:
    """Operators that are fused in a line."""
    if fusion not in FUSIONS:
        raise Refusal(f"ray_fusion is one of {', '.join(FUSIONS)}, not {fusion!r}", "invalid")
    chains = bench_engine.chains(graph)
    if fusion != "none":
        return chains
    # One state for the whole stream is rebuilt as one, so its operators stay together.
    return [
        line
        for chain in chains
        for line in ([chain] if _state(graph, chain) == "global" else [[node] for node in chain])
    ]


def _state(graph: Json, nodes: list[int]) -> str:
    """The most demanding state of several nodes."""
    order = ("none", "broadcast", "keyed", "global")
    return max((str(graph["nodes"][node]["state"]) for node in nodes), key=order.index)


def _reachable(graph: Json, nodes: list[int]) -> set[int]:
    found = set(nodes)
    for node in graph["nodes"]:
        if any(edge["from"] in found for edge in bench_engine.inputs(graph, node["id"])):
            found.add(node["id"])
    return found


def _only_broadcast(graph: Json) -> set[int]:
    """Operators whose output reaches others only through broadcast inputs."""
    found: set[int] = set()
    for node in reversed(graph["nodes"]):
        leaving = bench_engine.outputs(graph, node["id"])
        if leaving and node["role"] == "operator":
            only = all(edge["partition"] == "broadcast" or edge["to"] in found for edge in leaving)
            found |= {node["id"]} if only else set()
    return found


def _one_exit(graph: Json, chains: list[list[int]]) -> bool:
    """Whether chains may run as one: alike in number, and only the last one's output leaves."""
    nodes = [node for chain in chains for node in chain]
    leaving = {edge["from"] for edge in graph["edges"] if edge["from"] in nodes and edge["to"] not in nodes}
    limits = {graph["nodes"][node]["max_parallelism"] for node in nodes}
    return len(limits) == 1 and leaving == {nodes[-1]}
