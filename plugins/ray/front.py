"""The way of a batch of events through the front: which actors it passes, and the calls, chained."""

from __future__ import annotations

from actors import Instance
from bench_engine import with_port
from common import Addressed, Shared
from documents import Documents
from plan import Stage
from transport import Ref
from workers import Head

Written = list[tuple[int, Ref]]
"""What was written, and by which operator; or `~node` for what is addressed to that one."""
Chosen = dict[Stage, list[Instance]]


class Front:
    """Everything that a batch passes before the center."""

    def __init__(self, shared: Shared, documents: Documents) -> None:
        self._shared, self._documents = shared, documents
        self.predict_keys = True
        """Whether operators leave keys as the events have them, as far as is known."""

    def choose(self, entries: Addressed) -> Chosen | None:
        """The instances that a batch passes; none if one that it needs is down."""
        turn = next(self._shared.turns)
        chosen: Chosen = {}
        for stage in self._shared.plan.front:
            if stage.keyed:
                instances = self._shared.actors.of(stage)
                some = [instances[i] for i in self._partitions(stage, entries)]
            else:
                some = [found] if (found := self._shared.actors.pick(stage, turn)) else []
            if not some or not all(instance.up for instance in some):
                return None
            chosen[stage] = some
        return chosen

    def everyone(self) -> Chosen:
        """The instances that have something to flush, and one of each stage that has not."""
        actors, stages = self._shared.actors, self._shared.plan.front
        return {stage: actors.of(stage) if stage.state != "none" else actors.of(stage)[:1] for stage in stages}

    def submit(self, entries: Addressed, chosen: Chosen, finish: bool = False) -> tuple[list[Instance], Written]:
        """Submits the calls. Returns the instances passed and what the last ones write."""
        written: dict[int, list[Ref]] = {}
        path: list[Instance] = []
        for stage in self._shared.plan.front:
            given: Written = [(~node, data) for node, data in entries if node in stage.nodes]
            for origin in dict.fromkeys(e["from"] for e in stage.inputs if e["partition"] != "broadcast"):
                given += [(origin, data) for data in written.get(origin, [])]
            flush = finish and stage.state != "none"
            if not given and not flush:
                continue
            instances = chosen[stage]
            partitions = tuple(i.index for i in instances) if stage.keyed and len(instances) < stage.instances else None
            for number, instance in enumerate(instances):
                first, news = self._documents.news_for(instance) if stage.broadcast else (0, [])
                mine = given if number == 0 or stage.keyed else []
                origins = (*(document.origin for document in news), *(origin for origin, _ in mine))
                head = Head(origins, len(news), first, partitions, finish=flush)
                data = [*(document.data for document in news), *(data for _, data in mine)]
                written.setdefault(stage.exit, []).append(self._shared.actors.run(instance, head, data))
                path.append(instance)
        return path, [(origin, data) for origin in self._exits() for data in written.get(origin, [])]

    def _partitions(self, stage: Stage, entries: Addressed) -> list[int]:
        """The instances that hold the keys of a batch."""
        if not self.predict_keys or stage.instances == 1:
            return list(range(stage.instances))
        edge = stage.keyed[0]
        found = set()
        for _, part in entries:
            routed = self._shared.router.route(edge["from"], with_port(part, edge["from_port"]), 0)
            found |= {instance for node, instance, _ in routed if node == edge["to"]}
        return sorted(found)

    def _exits(self) -> list[int]:
        """The operators whose output leaves the front."""
        plan = self._shared.plan
        if plan.center is None:
            return [plan.front[-1].exit]
        return sorted({edge["from"] for edge in plan.center.inputs} or {0})
