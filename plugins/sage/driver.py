"""Runs a bench workload on SAGE (isage).

    host ──► Channel ──► queue ──► lanes ──► SAGE ──► Channel ──► host

A *lane* is a thread that takes one micro-batch at a time across the whole graph, so ``parallelism`` lanes
keep that many micro-batches under way and no stage waits for a batch other than its own. What is SAGE's and
what is not:

* :class:`Environment` and :class:`Flow` are the two ways to run the graph on SAGE. Both declare the graph as
  a line of *stages*: a stage holds every chain of operators that can run at the same time.
* :class:`Operators` holds the operators, one instance per lane where the graph allows it. They are native
  code that releases the GIL, so threads are enough to use every core.
* :class:`Flight` knows which packets of a micro-batch SAGE still owes. When SAGE fails, exactly they are
  sent again or turned into tombstones.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import bench_engine
import compat
from bench_engine import Channel, Json, Refusal, Tally, Workload

# ── The graph in stages ──────────────────────────────────────────────────────────────────────────────


def stages(graph: Json) -> list[list[list[int]]]:
    """The chains of the graph, grouped by how many chains come before them."""
    chains = bench_engine.chains(graph)
    level: dict[int, int] = {node["id"]: -1 for node in graph["nodes"] if node["role"] == "source"}
    found: list[list[list[int]]] = []
    for chain in chains:  # in topological order
        depth = 1 + max(level[edge["from"]] for edge in bench_engine.inputs(graph, chain[0]))
        level.update(dict.fromkeys(chain, depth))
        while len(found) <= depth:
            found.append([])
        found[depth].append(chain)
    return found


@dataclass(eq=False, slots=True)
class Packet:
    """A batch on its way to one instance of one node."""

    flight: Flight
    node: int
    instance: int
    batch: bytes


class Flight:
    """One micro-batch under way: the packets that were produced and not yet consumed.

    A packet is claimed before it is worked on, so that one which SAGE runs late, after it was given up,
    is not counted twice.
    """

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self._open: set[Packet] = set()
        self._claimed = 0
        self._changed = threading.Condition()

    def add(self, deliveries: Iterable[bench_engine.Delivery]) -> list[Packet]:
        """Packets for ``deliveries``."""
        packets = [Packet(self, *delivery) for delivery in deliveries]
        with self._changed:
            self._open.update(packets)
        return packets

    def claim(self, packet: Packet) -> bool:
        """The right to work on a packet, which only one gets."""
        with self._changed:
            if packet not in self._open:
                return False
            self._open.remove(packet)
            self._claimed += 1
            return True

    def settle(self, packet: Packet, done: bool) -> None:
        """Ends a claim; a packet that was not done is open again."""
        with self._changed:
            self._claimed -= 1
            if not done:
                self._open.add(packet)
            self._changed.notify_all()

    def reclaim(self) -> list[Packet]:
        """Once nobody works on any: the packets that nobody consumed, as new ones."""
        with self._changed:
            self._changed.wait_for(lambda: self._claimed == 0)
            owed, self._open = self._open, set()
        return self.add((packet.node, packet.instance, packet.batch) for packet in owed)


class Instance:
    """An operator instance: an operator for each call that may be under way, and the right to use one."""

    def __init__(self, operators: Iterable[bench_engine.Operator]) -> None:
        self._operators = list(operators)
        self._free: queue.SimpleQueue[bench_engine.Operator] = queue.SimpleQueue()
        for operator in self._operators:
            self._free.put(operator)

    def process(self, batch: bytes, room: AbstractContextManager[Any]) -> bytes:
        """Takes a batch through it, in a room that it may have to wait for."""
        operator = self._free.get()
        try:
            with room:
                return operator.process(batch)
        finally:
            self._free.put(operator)

    def finish(self) -> bytes:
        """What it still holds."""
        return b"".join(operator.finish() for operator in self._operators)


class Operators:
    """Every operator instance of the graph, and the way from one to the next.

    Where any instance will do, the one with the lane's own number is taken, so lanes meet only where they
    have to: at keys, at broadcasts and at operators that exist once.
    """

    def __init__(self, workload: Workload, parallelism: int, emit: Callable[[bytes], None]) -> None:
        self._workload, self._emit = workload, emit
        nodes = workload.graph["nodes"]
        self.chains = bench_engine.chains(workload.graph)
        self.stages = stages(workload.graph)
        self.sinks = frozenset(node["id"] for node in nodes if node["role"] == "sink")
        self.router = workload.router(parallelism)
        # A stage may have more packets than there are to be threads at work; one that waits on the
        # network is not at work.
        cores = threading.BoundedSemaphore(parallelism)
        self._room: dict[int, AbstractContextManager[Any]] = {}
        self._last: dict[int, int] = {}
        self._instances: dict[tuple[int, int], Instance] = {}
        for chain in self.chains:
            first, of = chain[0], self.router.instances(chain[0])
            self._last[first] = chain[-1]
            self._room[first] = nullcontext() if nodes[first]["blocking"] else cores
            calls = bench_engine.concurrency(workload.graph, chain) or 1
            for number in range(of):
                self._instances[first, number] = Instance(workload.operator(chain, number, of) for _ in range(calls))

    def width(self, stage: list[list[int]]) -> int:
        """Most packets of one micro-batch that can be at a stage at once."""

        def packets(first: int) -> int:
            edges = bench_engine.inputs(self._workload.graph, first)
            spread = any(edge["partition"] != "any" for edge in edges)
            return self.router.instances(first) if spread else 1

        return sum(packets(chain[0]) for chain in stage)

    def events(self, batch: bytes, flight: Flight) -> list[Packet]:
        """The packets that a batch of events starts with."""
        return flight.add(self.router.route_events(batch, flight.turn))

    def process(self, packet: Packet) -> list[Packet]:
        """Does a packet's work, if nobody else has: the operator's, or the sink's. What comes out of it."""
        flight = packet.flight
        if not flight.claim(packet):
            return []
        done = False
        try:
            onward = self._work(packet)
            done = True
        finally:
            flight.settle(packet, done)
        return onward

    def _work(self, packet: Packet) -> list[Packet]:
        if packet.node in self.sinks:
            self._emit(packet.batch)
            return []
        instance = self._instances[packet.node, packet.instance]
        output = instance.process(packet.batch, self._room[packet.node])
        flight = packet.flight
        return flight.add(self.router.route(self._last[packet.node], output, flight.turn))

    def fail(self, packet: Packet, reason: str) -> None:
        """Turns the records of a packet into tombstones, which its operator still has to see."""
        if packet.node not in self.sinks:
            packet.batch = self._workload.fail_input(packet.node, packet.batch, reason)

    def finish(self, chain: list[int], flight: Flight) -> list[Packet]:
        """Flushes every instance of a chain, once nothing more can reach it."""
        packets = []
        for number in range(self.router.instances(chain[0])):
            output = self._instances[chain[0], number].finish()
            packets += flight.add(self.router.route(chain[-1], output, flight.turn))
        return packets


# ── The graph on SAGE ────────────────────────────────────────────────────────────────────────────────


class Engine(Protocol):
    """A way to run packets through the stages on SAGE."""

    def run(self, lane: int, packets: list[Packet]) -> None:
        """Takes packets through every stage. Raises what SAGE raises."""

    def close(self) -> None:
        """Ends what SAGE started."""


class Environment:
    """``FlowNetEnvironment``: a pipeline per lane, submitted once per micro-batch.

    SAGE runs a submitted batch stage by stage and waits for the last packet of a stage before the next one
    starts, so a batch must be small. Its stateful functions live for one submit; the operators, which live
    for the run, are therefore looked up and not built by them.
    """

    def __init__(self, operators: Operators, parallelism: int, lanes: int, scheduler: str | None) -> None:
        from sage.foundation import BatchFunction, FlatMapFunction, SinkFunction
        from sage.runtime import FlowNetEnvironment, get_runtime_backend

        get_runtime_backend()  # loads the engine and starts its threads

        class Source(BatchFunction):  # type: ignore[misc]
            """Hands out the lane's packets, then ends the batch."""

            def __init__(self, lane: list[Packet], **rest: Any) -> None:
                super().__init__(**rest)
                self._lane = lane

            def execute(self) -> Packet | None:
                return self._lane.pop(0) if self._lane else None

        class Stage(FlatMapFunction):  # type: ignore[misc]
            """Runs the packets that are addressed to its nodes; the others are for a later stage."""

            def __init__(self, nodes: frozenset[int], **rest: Any) -> None:
                super().__init__(**rest)
                self._nodes = nodes

            def execute(self, packet: Packet) -> list[Packet]:
                return operators.process(packet) if packet.node in self._nodes else [packet]

        class Sink(SinkFunction):  # type: ignore[misc]
            """Hands results to the host."""

            def execute(self, packet: Packet) -> None:
                operators.process(packet)

        self._lanes: list[list[Packet]] = []
        self._environments: list[Any] = []
        for lane in range(lanes):
            packets: list[Packet] = []
            environment = FlowNetEnvironment(f"bench-{lane}", scheduler=scheduler)
            stream = environment.from_batch(Source, packets)
            for stage in operators.stages:
                nodes = frozenset(chain[0] for chain in stage)
                replicas = min(parallelism, operators.width(stage))  # each costs time in every submit
                stream = stream.flatmap(Stage, nodes, parallelism=replicas)
            stream.sink(Sink)
            self._lanes.append(packets)
            self._environments.append(environment)

    def run(self, lane: int, packets: list[Packet]) -> None:
        """See `Engine`."""
        environment = self._environments[lane]
        self._lanes[lane][:] = packets
        try:
            environment.submit(autostop=True)
        finally:
            compat.forget_actors(environment)

    def close(self) -> None:
        """See `Engine`."""
        for environment in self._environments:
            environment.close()


class Flow:
    """SAGE's flow engine (``sage.runtime.flownet``): one flow, declared once; one event per micro-batch.

    An event runs in the thread that publishes it, from the first stage to the last.
    """

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self._close = ExitStack()
        client, flownet = self._close.enter_context(compat.flow_engine())
        self._requests = threading.local()

        def stage(nodes: frozenset[int]) -> Callable[[list[Packet]], list[Packet]]:
            def call(packets: list[Packet]) -> list[Packet]:  # SAGE wants a function of one argument
                onward: list[Packet] = []
                for packet in packets:
                    onward += operators.process(packet) if packet.node in nodes else [packet]
                return onward

            return call

        steps = [
            flownet.stateless(uri=f"bench/stage-{number}")(stage(frozenset(chain[0] for chain in chains)))
            for number, chains in enumerate(operators.stages)
        ]

        @flownet.flow(uri="bench/graph")  # type: ignore[untyped-decorator]
        def graph(init_stream: Any) -> Any:
            for step in steps:
                init_stream = init_stream.map(step)
            return init_stream

        self._endpoint = client.flows.endpoint(graph, in_topic="events", out_topic="results")

    def run(self, lane: int, packets: list[Packet]) -> None:
        """See `Engine`."""
        # One open request per lane: each new one would leave a ledger behind.
        if not hasattr(self._requests, "own"):
            self._requests.own = self._endpoint.open_request()
        request = self._requests.own
        request.write(packets)
        while (output := request.read(timeout=0)) is not None:
            if isinstance(output, dict):
                raise RuntimeError(f"{output.get('error_type')}: {output.get('message')}")
            for packet in output:
                self._operators.process(packet)  # the sink

    def close(self) -> None:
        """See `Engine`."""
        self._close.close()


# ── The driver ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Losses:
    """What SAGE failed to do."""

    errors: int = 0
    resent: int = 0
    packets: int = 0
    last: str = ""


class Carrier:
    """Takes packets through the engine, and makes good what it fails to do."""

    def __init__(self, engine: Engine, operators: Operators, retries: int) -> None:
        self._engine, self._operators, self._retries = engine, operators, retries
        self.losses = Losses()
        self._lock = threading.Lock()

    def carry(self, lane: int, flight: Flight, packets: list[Packet]) -> None:
        """Returns when every packet and all that came of it has been consumed."""
        reason = ""
        for attempt in range(self._retries + 1):
            error = self._attempt(lane, packets)
            if not (packets := flight.reclaim()):
                return
            reason = error or "SAGE ended the batch without running it all"
            with self._lock:
                self.losses.errors += 1
                self.losses.last = reason
                self.losses.resent += len(packets) if attempt < self._retries else 0
        with self._lock:
            self.losses.packets += len(packets)
        # Tombstones go by the shortest way: SAGE just failed to carry the records themselves.
        for packet in packets:
            self._operators.fail(packet, reason)
        while packets:
            packets = [onward for packet in packets for onward in self._operators.process(packet)]

    def _attempt(self, lane: int, packets: list[Packet]) -> str | None:
        try:
            self._engine.run(lane, packets)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None


class Lanes:
    """Threads that carry micro-batches from a queue that is no longer than they are many."""

    def __init__(self, channel: Channel, carrier: Carrier, operators: Operators, count: int) -> None:
        self._channel, self._carrier, self._operators = channel, carrier, operators
        self._waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=count)
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"lane-{lane}", daemon=True) for lane in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, batch: bytes) -> None:
        """Waits for a place in the queue: this is what holds back the host."""
        self._waiting.put(batch)

    def drain(self) -> None:
        """Waits until everything was carried."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, lane: int) -> None:
        try:
            while (batch := self._waiting.get()) is not None:
                flight = Flight(turn=lane)
                self._carrier.carry(lane, flight, self._operators.events(batch, flight))
        except BaseException as error:
            self._channel.fatal(error)


def scheduler_of(config: Json) -> tuple[str | None, Json]:
    """SAGE's name for the scheduler asked for, and what to report about it."""
    asked = config["scheduler"]
    if asked == "default":
        return None, {"asked": asked, "effect": "left to SAGE"}
    if asked not in ("fifo", "load_aware"):
        raise Refusal(f"SAGE has no scheduler '{asked}': choose fifo, load_aware or default", "invalid")
    return asked, {"asked": asked, "effect": "accepted by SAGE, which does not consult it on one node"}


def open_engine(config: Json, operators: Operators, lanes: int) -> tuple[Engine, Json]:
    """The engine asked for and facts about it."""
    kind = config["options"]["sage_engine"]
    name, scheduler = scheduler_of(config)
    if kind == "environment":
        engine = Environment(operators, config["parallelism"], lanes, name)
        return engine, {"engine": kind, "scheduler": scheduler}
    if kind == "flow":
        if name is not None:
            scheduler["effect"] = "SAGE's flow engine takes no scheduler"
        return Flow(operators), {"engine": kind, "scheduler": scheduler}
    raise Refusal(f"there is no SAGE engine '{kind}': choose environment or flow", "invalid")


def main(channel: Channel) -> None:
    """A run from start-up to teardown."""
    config = channel.config
    parallelism: int = config["parallelism"]
    started = time.perf_counter()
    channel.phase("start-up", "SAGE has not been loaded")
    compat.quiet()
    channel.phase("deploy", "SAGE has not come up")
    workload = Workload(config["library"], config["open"])
    # A lane that waits on the network must not keep the others' operators from the cores.
    waits = any(node["blocking"] for node in workload.graph["nodes"])
    calls = max(bench_engine.concurrency(workload.graph, chain) or 0 for chain in bench_engine.chains(workload.graph))
    lanes_wanted = max(parallelism * 2, parallelism + calls) if waits else parallelism
    tally = Tally(workload.graph)

    def emit(batch: bytes) -> None:
        tally.result_batch(batch)
        channel.emit(batch)

    operators = Operators(workload, parallelism, emit)
    engine, facts = open_engine(config, operators, lanes_wanted)
    carrier = Carrier(engine, operators, config["retries"])
    channel.phase("warm-up", "SAGE has not carried its first batches")
    for lane in range(lanes_wanted):  # loads what SAGE loads late and starts its threads
        flight = Flight(turn=lane)
        carrier.carry(lane, flight, flight.add((chain[0], 0, b"") for chain in operators.chains))
    facts["ready_seconds"] = round(time.perf_counter() - started, 3)

    lanes = Lanes(channel, carrier, operators, lanes_wanted)
    for batch in channel.events():
        tally.event_batch(batch)
        lanes.put(batch)
    lanes.drain()
    for chain in operators.chains:  # in topological order: nothing reaches a chain after its turn
        flight = Flight(turn=0)
        if packets := operators.finish(chain, flight):
            carrier.carry(0, flight, packets)

    channel.phase("teardown", "SAGE has not shut down")
    engine.close()
    losses = carrier.losses
    facts["lanes"] = lanes_wanted
    facts["stages"] = len(operators.stages)
    facts["runtime_errors"] = {"errors": losses.errors, "resent": losses.resent, "lost": losses.packets}
    if losses.errors:
        channel.log(f"SAGE failed {losses.errors} time(s), lastly: {losses.last}", "warn")
    channel.metrics({**tally.metrics(), "sage": facts})
    if tally.results != tally.events:
        channel.log(f"{tally.events} queries went in, {tally.results} results came out", "warn")


if __name__ == "__main__":
    bench_engine.drive(main)
