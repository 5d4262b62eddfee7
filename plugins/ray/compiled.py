"""Ray's compiled graphs: the stages as loops that read and write shared memory. Experimental.

One actor per stage: a compiled graph has no pools, so `parallelism` only shows in how many stages work at once.
A worker that dies ends the run. Ray leaves the semaphores of every compiled graph in /dev/shm. Their names are only
needed until everyone has opened them, so they are removed while the graph runs, and nothing stays whoever is killed.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import queue
from typing import Any

import ray

import bench_engine
import compat
import workers
from bench_engine import Channel, Json, Refusal, Tally, Workload
from plan import Plan, Stage
from ray_transport import RayActor
from workers import Head

IN_FLIGHT = 10
"""Executions under way; each has a buffer of its own in every channel."""
BUFFER_BYTES = 1 << 20


def run(channel: Channel, config: Json, facts: Json) -> None:
    """The whole run."""
    from ray.dag import InputNode

    if int(config["nodes"]) > 1:
        raise Refusal("ray_mode=compiled runs on one node: leave --nodes at 1", "unsupported")
    compat.need_compiled_graphs()
    compat.unlink_semaphores(lambda raylet: not os.path.exists(f"/proc/{raylet}"))  # of a run killed while it deployed
    others = compat.semaphores()
    channel.phase("deploy")
    # One actor per stage, so stages are all the parallelism there is.
    plan = Plan(config["graph"], 1, config["extra"].get("ray_fusion", "chains"))
    workload = Workload(config["library"], config["open"])
    router, tally = workload.router(1), Tally(plan.graph)
    setups = workers.setups(plan, config)
    actor = ray.remote(workers.LoopActor).options(num_cpus=0.01)
    actors = {stage: actor.remote(setups[stage.name][0]) for stage in plan.stages}
    ray.get([a.ready.remote() for a in actors.values()])
    asks = [RayActor(handle).clock for handle in actors.values()]
    channel.clocks(asyncio.run(bench_engine.clocks.compare(asks)))
    with InputNode() as events:
        written: dict[int, Any] = {}
        for stage in plan.stages:
            origins = _origins(plan, stage)
            given = [events if origin is None else written[origin] for origin in origins]
            written[stage.exit] = actors[stage].step.bind(origins, *given)
        last = plan.stages[-1]
        end = written[last.exit]
    graph = compat.compile_graph(end, BUFFER_BYTES, IN_FLIGHT)
    channel.phase("warm-up")
    for _ in range(3):
        graph.execute([]).get()
    joined = config["options"]["ray_address"] is not None  # then the nodes are in no session of ours
    compat.unlink_semaphores(_in_our_session if not joined else lambda raylet: True, but=others)

    def deliver(origin: int, data: bytes) -> None:
        for _, _, batch in router.route(origin, data, 0):
            tally.result_batch(batch)
            channel.emit(batch)

    executions = 0
    pending: collections.deque[Any] = collections.deque()
    arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    bench_engine.read(channel, arrived.put)
    ended = False
    while pending or not ended:
        room = len(pending) < IN_FLIGHT - 1 and not ended
        if room and (not arrived.empty() or not pending):
            batch = arrived.get()
            if batch is None:
                ended = True
                continue
            tally.event_batch(batch)
            pending.append(graph.execute([(node, part) for node, _, part in router.route_events(batch, 0)]))
            executions += 1
            continue
        # Waits even if there is room: a result cannot be asked for twice. Every execution has one.
        deliver(last.exit, pending.popleft().get())
    graph.teardown()
    channel.clocks(asyncio.run(bench_engine.clocks.compare(asks)))
    flushed: dict[int, bytes] = {}
    for stage in plan.stages:
        given = [(o, flushed[o]) for o in _origins(plan, stage) if o is not None]
        head = Head(tuple(o for o, _ in given), finish=True)
        flushed[stage.exit] = ray.get(actors[stage].run.remote(head, *(data for _, data in given)))
    deliver(last.exit, flushed[last.exit])
    facts["executions"] = executions
    facts["stages"] = {stage.name: 1 for stage in plan.stages}
    channel.metrics(tally.metrics())


def _origins(plan: Plan, stage: Stage) -> tuple[int | None, ...]:
    """What a stage reads, documents first."""
    order = sorted(stage.inputs, key=lambda edge: edge["partition"] != "broadcast")
    sources = {node["id"] for node in plan.graph["nodes"] if node["role"] == "source"}
    return tuple(dict.fromkeys(None if edge["from"] in sources else edge["from"] for edge in order))


def _in_our_session(process: int) -> bool:
    with contextlib.suppress(OSError):
        return os.getsid(process) == os.getsid(0)
    return False
