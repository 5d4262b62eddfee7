"""Runs a bench workload on Ray: events in, results out, through the channel that `bench_worker` opens.

    environment.py   what must be set before Ray is imported
    compat.py        what of Ray is private, experimental, or differs between its versions
    cluster.py       starting, joining and stopping Ray
    plan.py          the graph as stages
    workers.py       the actors
    engine.py        the pipelined engine with recovery, which is the default
    naive.py         two blocking waves of tasks per window, for comparison
    compiled.py      Ray's compiled graphs, experimental
"""

from __future__ import annotations

import collections
import queue
import threading
import time
from typing import Any

import bench_worker
import environment
from bench_worker import Channel, Json, Refusal

MODES = ("actors", "naive", "compiled")


def main(channel: Channel) -> None:
    """A run from start-up to teardown."""
    config = channel.config
    mode = config["extra"].get("ray_mode", MODES[0])
    if mode not in MODES:
        raise Refusal(f"ray_mode is one of {', '.join(MODES)}, not {mode!r}", "invalid")
    environment.prepare(config["dir"])
    clock = Clock(channel)
    address = config["extra"].get("ray_address")
    channel.phase("start-up", f"Ray at {address} has not answered" if address else "Ray has not answered")
    import cluster
    import compat

    with cluster.running(config) as facts:
        facts["mode"] = mode
        RUNS[mode](channel, config, clock, facts)
        facts["nodes_alive"] = len(compat.alive())
        clock.phase("teardown", "Ray has not shut down")
    facts["phase_seconds"] = clock.seconds()
    channel.metrics({"ray": facts})


class Clock:
    """Reports phases and remembers how long each took."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._marks = [("start-up", time.monotonic())]

    def phase(self, name: str, waits: str = "") -> None:
        """A phase begins, and the host is told; for `waits` see `Channel.phase`."""
        self._channel.phase(name, waits)
        self.mark(name)

    def mark(self, name: str) -> None:
        """As `phase` for those that the channel reports."""
        self._marks.append((name, time.monotonic()))

    def seconds(self) -> Json:
        """By phase."""
        ends = [at for _, at in self._marks[1:]] + [time.monotonic()]
        return {name: round(end - at, 3) for (name, at), end in zip(self._marks, ends)}


class Input:
    """Events on the queue that also carries completions. At most two batches wait to be accepted."""

    def __init__(self, channel: Channel, events: queue.SimpleQueue[Any], clock: Clock) -> None:
        self._channel, self._events, self._clock = channel, events, clock
        self.room = threading.Semaphore(2)
        threading.Thread(target=self._read, name="events", daemon=True).start()

    def _read(self) -> None:
        try:
            self._clock.mark("steady")
            for batch in self._channel.events():
                self.room.acquire()
                self._events.put(batch)
            self._clock.mark("drain")
            self._events.put(None)
        except BaseException as error:
            self._channel.fatal(error)


def actors(channel: Channel, config: Json, clock: Clock, facts: Json) -> None:
    """The default: actors, chained references, recovery."""
    import ray

    import cluster
    import compat
    import engine
    from plan import FUSIONS, Plan

    clock.phase("deploy", "Ray's actors are not ready")
    facts["fusion"] = config["extra"].get("ray_fusion", FUSIONS[0])
    plan = Plan(config["graph"], config["parallelism"], facts["fusion"])
    workload = bench_worker.Workload(config["library"], config["open"])
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stages = engine.deploy(plan, config, cluster.chosen(config))

    def log(message: str) -> None:
        channel.log(message, "warn")

    flow = engine.Engine(plan, workload, stages, int(config["retries"]), events, channel.emit, log)
    for instance, ready in zip(flow.everyone, ray.get([i.actor.ready.remote() for i in flow.everyone])):
        flow.moved_in(instance, ready)
    clock.phase("warm-up", "Ray's actors have not answered their first calls")
    ray.get([i.actor.run.remote(engine.Head(()), *()) for i in flow.everyone for _ in range(3)])
    given = Input(channel, events, clock)
    pending: collections.deque[bytes | None] = collections.deque()
    while not flow.drained:
        event = events.get()
        if callable(event):
            event()
        else:
            pending.append(event)
        while pending and flow.has_room:
            if (batch := pending.popleft()) is None:
                flow.end_of_input()
            else:
                flow.accept(batch)
                given.room.release()
    facts["stages"] = {stage.name: len(some) for stage, some in flow.instances.items()}
    facts["recovery"] = {name: flow.counts[name] for name in ("deaths", "retried", "replays", "tombstones", "lost_documents")}
    facts["calls"] = flow.calls.total()
    nodes, alive = flow.nodes(), compat.alive()
    for name, node in nodes.items():
        node["alive"] = name in alive
    used = sum(node["calls"] > 0 for node in nodes.values())
    whole = flow.tally.events == config["total_items"]
    if whole and used < int(config["nodes"]):
        raise Refusal(
            f"the run was too small for {config['nodes']} nodes: operators ran on {used}. Leave --nodes at {used}, or give "
            "it more to do (--num-tasks, --parallelism)",
            "unsupported",
        )
    channel.metrics({**flow.tally.metrics(), "nodes": nodes})


def naive(channel: Channel, config: Json, clock: Clock, facts: Json) -> None:
    """For comparison: see `naive`."""
    import naive

    naive.run(channel, config, clock, facts)


def compiled(channel: Channel, config: Json, clock: Clock, facts: Json) -> None:
    """Experimental: see `compiled`."""
    import compiled

    compiled.run(channel, config, clock, facts)


RUNS = {"actors": actors, "naive": naive, "compiled": compiled}

if __name__ == "__main__":
    bench_worker.run(main)
