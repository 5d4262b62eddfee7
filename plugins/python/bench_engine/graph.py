"""The graph of a workload, and how it is cut; see ``bench_dataflow::graph``, whose rules these repeat."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

Json = dict[str, Any]

ALIKE = ("max_parallelism", "blocking", "concurrency", "affinity")
"""What operators have in common that may be fused."""


def outputs(graph: Json, node: int) -> list[Json]:
    """Edges that leave ``node``."""
    return [edge for edge in graph["edges"] if edge["from"] == node]


def inputs(graph: Json, node: int) -> list[Json]:
    """Edges that enter ``node``."""
    return [edge for edge in graph["edges"] if edge["to"] == node]


def instances(graph: Json, node: int, parallelism: int) -> int:
    """How many instances of ``node`` to run when the user asks for ``parallelism``."""
    limit = graph["nodes"][node]["max_parallelism"]
    return max(1, parallelism if limit is None else min(parallelism, limit))


def concurrency(graph: Json, chain: Iterable[int]) -> int | None:
    """How many calls an instance of a chain may have under way at once; none where the graph does not say.

    Such calls wait, and need an operator each.
    """
    some = [graph["nodes"][node] for node in chain]
    limits = [node.get("concurrency") for node in some if node["state"] == "none"]
    return None if len(limits) < len(some) or None in limits else max(1, min(limits))


def chains(graph: Json) -> list[list[int]]:
    """Operators grouped into runs that may be fused into one task, in topological order."""
    nodes = graph["nodes"]
    found: list[list[int]] = []
    for node in (node for node in nodes if node["role"] == "operator"):

        def fusable(chain: list[int], node: Json = node) -> bool:
            last = nodes[chain[-1]]
            entering = inputs(graph, node["id"])
            return (
                len(entering) == 1
                and entering[0]["from"] == last["id"]
                and entering[0]["partition"] == "any"
                and len(outputs(graph, last["id"])) == 1
                and all(last.get(field) == node.get(field) for field in ALIKE)
            )

        chain = next(filter(fusable, found), None)
        if chain is None:
            found.append([node["id"]])
        else:
            chain.append(node["id"])
    return found


def answered_nodes(graph: Json) -> set[int]:
    """Nodes whose records are answered at the sink: what only goes on by broadcast ends in the state it builds."""
    reaches = {node["id"] for node in graph["nodes"] if node["role"] == "sink"}
    for node in reversed(graph["nodes"]):
        through = (edge for edge in outputs(graph, node["id"]) if edge["partition"] != "broadcast")
        if any(edge["to"] in reaches for edge in through):
            reaches.add(node["id"])
    return reaches


def answered_sources(graph: Json) -> list[int]:
    """Sources whose events are answered at the sink."""
    answered = answered_nodes(graph)
    return [node["id"] for node in graph["nodes"] if node["role"] == "source" and node["id"] in answered]


class Stage(NamedTuple):
    """Operators that one call runs: a chain, cut where state begins or ends. Small, and made to be sent to workers."""

    run: str
    """Whose: one worker process may serve several runs."""
    number: int
    """Its place in topological order."""
    nodes: tuple[int, ...]
    name: str
    instances: int
    """Without state: so many at once are enough. With state: each is a place of its own that keeps what it has seen."""
    stateful: bool
    """Whether a call must reach the instance that it names. One without may run anywhere, and go again.

    Also where the graph limits the calls under way: they are counted in one process."""
    blocking: bool
    """Whether its operators wait on the network, so that a call of it needs no core of its own."""
    answered: bool
    """Whether what it is given is answered at the sink; else it builds the state of other stages."""
    concurrency: int = 1
    """Calls that may be under way at once in one instance: they wait. One call at a time is right too, only slower."""
    affinity: int | None = None
    """Where it reads something large that need not be everywhere: see :meth:`home`."""

    def home(self, machines: int) -> int | None:
        """Which of so many machines, from 0, has what it reads; none where any will do."""
        return None if self.affinity is None or machines < 2 else self.affinity % machines


def cut(graph: Json, parallelism: int, run: str = "") -> list[Stage]:
    """The stages of a graph, in topological order."""
    nodes, answered = graph["nodes"], answered_nodes(graph)

    def is_stateful(node: int) -> bool:
        return bool(nodes[node]["state"] != "none" or nodes[node].get("concurrency"))

    pieces = (itertools.groupby(chain, is_stateful) for chain in chains(graph))
    lines = sorted((tuple(line), stateful) for groups in pieces for stateful, line in groups)
    return [
        Stage(
            run=run,
            number=number,
            nodes=line,
            name="+".join(nodes[node]["name"] for node in line),
            instances=instances(graph, line[0], parallelism),
            stateful=stateful,
            blocking=any(nodes[node]["blocking"] for node in line),
            answered=line[0] in answered,
            concurrency=concurrency(graph, line) or 1,
            affinity=nodes[line[0]].get("affinity"),
        )
        for number, (line, stateful) in enumerate(lines)
    ]
