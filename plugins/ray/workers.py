"""What runs inside Ray's worker processes: one actor class for every stage.

A method takes and returns plain bytes. A call that overruns its time limit is ended by the kernel's alarm
(SIGALRM, default action): that works even if the operator holds the GIL or never returns.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench_engine import Json, Workload, clocks, extents, seq, worker
from plan import Plan, Stage


class StateLost(Exception):
    """A restarted actor has not seen what this call builds on; it has the documents before `position`."""

    def __init__(self, stage: str, instance: int, position: int) -> None:
        super().__init__(stage, instance, position)
        self.stage, self.instance, self.position = stage, instance, position


class KeysRewritten(Exception):
    """An operator changed partition keys on the way, so they cannot be told from the events."""


class Setup(NamedTuple):
    """How to build a stage's operators."""

    name: str
    library: str
    open: str
    chains: list[list[int]]
    any_edges: list[tuple[int, int]]
    """Edges (from, to) on which any instance will do."""
    instance: int
    of: int
    parallelism: int
    time_limit: float | None
    concurrency: int = 1
    """Calls that may be under way at once."""


class Head(NamedTuple):
    """What the data of a call is. An origin is the node that wrote a batch, or `~node` for one addressed to it."""

    origins: tuple[int, ...]
    documents: int = 0
    """So many of the batches, the first ones, are documents."""
    first: int = 0
    """Position of the first document in the log of documents."""
    partitions: tuple[int, ...] | None = None
    """Instances of this stage that get a call for this batch of events; absent for all."""
    generation: int = 0
    finish: bool = False


class Pipeline:
    """The operators of a stage and the way between them. Knows nothing of Ray."""

    def __init__(self, setup: Setup, workload: Workload | None = None) -> None:
        self.setup = setup
        self.workload: Workload = workload or worker.open_workload(setup.library, "", setup.open)
        self.outside = self.workload.router(setup.parallelism)
        self.inside = self.workload.router(1)
        self.any_edges = set(setup.any_edges)
        self.exit = setup.chains[-1][-1]
        self.renew()

    def renew(self) -> None:
        """New operators without any state."""
        make = self.workload.operator
        setup = self.setup
        self.operators = {chain[0]: (chain[-1], make(chain, setup.instance, setup.of)) for chain in setup.chains}

    def take(self, head: Head, origin: int, batch: bytes) -> bytes:
        """Takes what `origin` wrote as far as it concerns this instance; returns what leaves the stage."""
        if origin < 0:
            return self._work(~origin, batch)
        output = b""
        for node, instance, part in self.outside.route(origin, batch, 0):
            if node not in self.operators:
                continue
            if (origin, node) in self.any_edges or instance == self.setup.instance:
                output += self._work(node, part)
            elif head.partitions is not None and instance not in head.partitions:
                raise KeysRewritten(self.setup.name)
        return output

    def finish(self) -> bytes:
        """Flushes every operator."""
        return b"".join(self._pass_on(last, operator.finish()) for last, operator in self.operators.values())

    def _work(self, node: int, batch: bytes) -> bytes:
        last, operator = self.operators[node]
        return self._pass_on(last, operator.process(batch))

    def _pass_on(self, last: int, output: bytes) -> bytes:
        if last == self.exit or not output:
            return output
        return b"".join(self._work(node, part) for node, _, part in self.inside.route(last, output, 0))


class TimeLimit:
    """Ends the process when a call of it overruns: the kernel's alarm is set to the first deadline."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._deadlines: list[float] = []
        # In a process that makes several calls at once this is not the main thread, and the default action is in force.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    @contextlib.contextmanager
    def during_a_call(self) -> Iterator[None]:
        """Counts from now on."""
        if self._seconds is None:
            yield
            return
        deadline = time.monotonic() + self._seconds
        self._change(self._deadlines.append, deadline)
        try:
            yield
        finally:
            self._change(self._deadlines.remove, deadline)

    def _change(self, change: Callable[[float], None], deadline: float) -> None:
        with self._lock:
            change(deadline)
            # An alarm after 0 seconds would be none.
            left = max(min(self._deadlines) - time.monotonic(), 1e-6) if self._deadlines else 0.0
            signal.setitimer(signal.ITIMER_REAL, left)


class StageActor:
    """An actor with the operators of a stage."""

    def __init__(self, setup: Setup) -> None:
        self.pipeline, self.limit = Pipeline(setup), TimeLimit(setup.time_limit)
        self._free: queue.SimpleQueue[Pipeline] = queue.SimpleQueue()
        self._free.put(self.pipeline)
        for _ in range(1, setup.concurrency):  # without state: each is as good as another
            self._free.put(Pipeline(setup, self.pipeline.workload))
        self.seen = 0
        self.flushed: bytes | None = None
        self.generation = 0
        self.released: set[int] = set()

    def ready(self) -> tuple[int, str, str]:
        """Process, node, and the machine, as it calls itself."""
        import ray

        return os.getpid(), ray.get_runtime_context().get_node_id(), os.uname().nodename

    def clock(self) -> clocks.Reading:
        """This process and its clock."""
        return clocks.read()

    def run(self, head: Head, *data: bytes) -> bytes:
        """Processes batches and returns what leaves the stage."""
        pipeline = self._free.get()
        try:
            with self.limit.during_a_call():
                output = self._documents(head, data)
                for origin, batch in zip(head.origins[head.documents :], data[head.documents :], strict=True):
                    output += pipeline.take(head, origin, batch)
                return output + self._finish() if head.finish else output
        finally:
            self._free.put(pipeline)

    def begin(self, generation: int, released: set[int]) -> None:
        """Starts the state of the whole stream anew; frames in `released` have been answered for."""
        self.pipeline.renew()
        self.generation, self.released, self.flushed = generation, released, None

    def run_center(self, head: Head, *data: bytes) -> tuple[bytes, list[int]]:
        """As `run` for the one state of the whole stream: also the sequence numbers of what is released."""
        if head.generation != self.generation:
            raise self._state_lost(0)
        output = self.run(head, *data)
        seqs = [seq(output, at) for at, _ in extents(output)]
        if self.released:
            fresh = [(at, end) for at, end in extents(output) if seq(output, at) not in self.released]
            output = b"".join(output[at:end] for at, end in fresh)
            seqs = [seq for seq in seqs if seq not in self.released]
        return output, seqs

    def _documents(self, head: Head, data: tuple[bytes, ...]) -> bytes:
        """Every instance sees every document once, in order."""
        if head.documents == 0 and head.first == 0:
            return b""
        if head.first > self.seen:
            raise self._state_lost(self.seen)
        output = b""
        for position in range(self.seen, head.first + head.documents):
            index = position - head.first
            output += self.pipeline.take(head, head.origins[index], data[index])
            self.seen += 1
        return output

    def _state_lost(self, position: int) -> StateLost:
        return StateLost(self.pipeline.setup.name, self.pipeline.setup.instance, position)

    def _finish(self) -> bytes:
        """What was held; the same again when asked again."""
        if self.flushed is None:
            self.flushed = self.pipeline.finish()
        return self.flushed


class LoopActor(StageActor):
    """A stage in a compiled graph."""

    def step(self, origins: tuple[int | None, ...], *given: Any) -> bytes:
        """One execution. An origin of none stands for the events, as deliveries."""
        output = b""
        for origin, data in zip(origins, given, strict=True):
            if origin is None:
                mine = [(node, part) for node, part in data if node in self.pipeline.operators]
                output += b"".join(self.pipeline.take(Head(()), ~node, part) for node, part in mine)
            else:
                output += self.pipeline.take(Head(()), origin, data)
        return output


def setups(plan: Plan, config: Json) -> dict[str, list[Setup]]:
    """One setup for each instance of each stage."""
    graph, limit = config["graph"], config["options"]["call_timeout_seconds"]
    any_edges = [(e["from"], e["to"]) for e in graph["edges"] if e["partition"] == "any"]

    def setup(stage: Stage, instance: int) -> Setup:
        return Setup(
            name=stage.name,
            library=config["library"],
            open=_json(config["open"]),
            chains=stage.chains,
            any_edges=any_edges,
            instance=instance,
            of=stage.instances,
            parallelism=plan.parallelism,
            time_limit=float(limit) if limit else None,
            concurrency=stage.concurrency or 1,
        )

    return {stage.name: [setup(stage, i) for i in range(stage.instances)] for stage in plan.stages}


def _json(value: Json | str) -> str:
    return value if isinstance(value, str) else json.dumps(value)
