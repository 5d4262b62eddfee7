"""Runs a bench workload on Ray: events in, results out, through the channel that `bench_engine` opens.

* `environment.py`: what must be set before Ray is imported.
* `compat.py`: what of Ray is private, experimental, or differs between its versions.
* `cluster.py`: starting, joining and stopping Ray.
* `plan.py`: the graph as stages; `workers.py`: the actors.
* `engine.py`: the pipelined engine with recovery, which is the default. It says what its parts are.
* `naive.py`: two blocking waves of tasks per window, for comparison.
* `compiled.py`: Ray's compiled graphs, experimental.
"""

from __future__ import annotations

import asyncio
import dataclasses
import queue
import threading

import bench_engine
import environment
from bench_engine import Channel, Json, Refusal


def main(channel: Channel) -> None:
    """A run from start-up to teardown."""
    config = channel.config
    mode, address = config["options"]["ray_mode"], config["options"]["ray_address"]
    environment.prepare(config["dir"], address is not None, config["home"] or "")
    channel.phase("start-up", f"Ray at {address} has not answered" if address else "Ray has not answered")
    import cluster
    import compat

    with cluster.running(config, channel.fatal) as facts:
        facts["mode"] = mode
        RUNS[mode](channel, config, facts)
        facts["nodes_alive"] = len(compat.alive())
        channel.phase("teardown", "Ray has not shut down")
    facts["phase_seconds"] = channel.phase_seconds()
    channel.metrics({"ray": facts})


def actors(channel: Channel, config: Json, facts: Json) -> None:
    """The default: actors, chained references, recovery."""
    import cluster
    import compat
    import ray_transport
    from actors import Actors
    from engine import Engine, Event
    from plan import Plan

    channel.phase("deploy", "Ray's actors are not ready")
    facts["fusion"] = config["options"]["ray_fusion"]
    plan = Plan(config["graph"], config["parallelism"], facts["fusion"], int(config["nodes"]))
    workload = bench_engine.Workload(config["library"], config["open"])
    fleet = Actors(plan, ray_transport.deploy(plan, config, cluster.chosen(config)))
    handles = [instance.actor for instance in fleet.everyone]
    for instance, ready in zip(fleet.everyone, ray_transport.start(handles), strict=True):
        fleet.started(instance, ready)
    channel.phase("warm-up", "Ray's actors have not answered their first calls")
    ray_transport.warm_up(handles)
    asks = ray_transport.clocks(handles)
    channel.clocks(asyncio.run(bench_engine.clocks.compare(asks)))

    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    room = threading.Semaphore(2)  # At most two batches wait to be accepted.

    def put(batch: bytes | None) -> None:
        if batch is not None:
            room.acquire()
        events.put(batch)

    def log(message: str) -> None:
        channel.log(message, "warn")

    transport = ray_transport.RayTransport(events.put)
    engine = Engine(plan, workload, fleet, transport, int(config["retries"]), channel.emit, log)
    bench_engine.read(channel, put)
    engine.run(events.get, room.release)
    channel.clocks(asyncio.run(bench_engine.clocks.compare(asks)))
    facts["stages"] = fleet.stages()
    facts["recovery"] = dataclasses.asdict(engine.counts)
    facts["calls"] = fleet.calls.total()
    nodes, alive = fleet.nodes(), compat.alive()
    for name, node in nodes.items():
        node["alive"] = name in alive
    used = sum(node["calls"] > 0 for node in nodes.values())
    whole = engine.tally.events == config["total_items"]
    if whole and used < int(config["nodes"]):
        raise Refusal(
            f"the run was too small for {config['nodes']} nodes: operators ran on {used}. Leave --nodes at {used}, or "
            "give it more to do (--num-tasks, --parallelism)",
            "unsupported",
        )
    channel.metrics({**engine.tally.metrics(), "nodes": nodes})


def naive(channel: Channel, config: Json, facts: Json) -> None:
    """For comparison: see `naive`."""
    import naive

    naive.run(channel, config, facts)


def compiled(channel: Channel, config: Json, facts: Json) -> None:
    """Experimental: see `compiled`."""
    import compiled

    compiled.run(channel, config, facts)


RUNS = {"actors": actors, "naive": naive, "compiled": compiled}

if __name__ == "__main__":
    bench_engine.drive(main)
