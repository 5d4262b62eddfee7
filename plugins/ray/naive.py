"""Two blocking waves of tasks per window, the shape of a first Ray program. For comparison with `engine`.

A window is as many batches of events as there is parallelism. The first wave takes each batch to the operators
with one state for the whole stream, which run here, in the driver; the second wave takes what they release to the
sink. Each wave is waited for. A task finds its operators in its process, and is sent the documents that the slowest
process lacks; every process embeds every document itself, because nothing is shared.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator

import ray

import bench_engine
import workers
from bench_engine import Channel, Json, Refusal, Tally, Workload
from plan import Plan
from workers import Head, Pipeline, Setup, StateLost

GATHER_SECONDS = 0.005
"""How long a window that has a batch waits for the next one."""

Parts = list[tuple[int, bytes]]
_PIPELINES: dict[str, list[Pipeline]] = {}
_SEEN: dict[str, int] = {}


def through(name: str, setups: list[Setup], parts: Parts) -> dict[int, list[bytes]]:
    """Runs stages one after the other in this process; what each operator wrote, by operator."""
    if name not in _PIPELINES:
        _PIPELINES[name] = [Pipeline(setup) for setup in setups]
    written: dict[int, list[bytes]] = {}
    for origin, data in parts:
        if origin >= 0:
            written.setdefault(origin, []).append(data)
    for pipeline in _PIPELINES[name]:
        given = [(origin, data) for origin, data in parts if origin < 0 and ~origin in pipeline.operators]
        for origin in _before(pipeline):
            given += [(origin, data) for data in written.get(origin, [])]
        output = b"".join(pipeline.take(Head(()), origin, data) for origin, data in given)
        written.setdefault(pipeline.exit, []).append(output)
    return written


def _before(pipeline: Pipeline) -> list[int]:
    """Operators that feed a stage from outside."""
    edges = pipeline.workload.graph["edges"]
    ours = pipeline.operators
    return list(dict.fromkeys(edge["from"] for edge in edges if edge["to"] in ours and edge["from"] not in ours))


def front(setups: list[Setup], first: int, documents: list[Parts], parts: Parts) -> tuple[Parts, int, int]:
    """The first wave's task: what leaves the front, the process, and how many documents it has."""
    seen = _SEEN.get("front", 0)
    if first > seen:
        raise StateLost("front", os.getpid(), seen)
    for document in documents[seen - first :]:
        through("front", setups, document)
    _SEEN["front"] = seen = max(seen, first + len(documents))
    written = through("front", setups, parts)
    last = setups[-1].chains[-1][-1]
    return [(last, data) for data in written[last]], os.getpid(), seen


def tail(setups: list[Setup], parts: Parts) -> Parts:
    """The second wave's task: what goes to the sink."""
    written = through("tail", setups, parts)
    last = setups[-1].chains[-1][-1]
    return [(last, data) for data in written[last]]


def run(channel: Channel, config: Json, facts: Json) -> None:
    """The whole run."""
    if int(config["nodes"]) > 1:
        raise Refusal("ray_mode=naive runs on one node: leave --nodes at 1", "unsupported")
    channel.phase("deploy")
    plan = Plan(config["graph"], 1, "chains")
    # Calls that wait for a service are counted in a process: where the graph limits them, tasks go one by one.
    one_by_one = any(stage.concurrency for stage in plan.stages)
    width = 1 if one_by_one else int(config["parallelism"])
    workload = Workload(config["library"], config["open"])
    router, tally = workload.router(1), Tally(plan.graph)
    setups = {name: some[0] for name, some in workers.setups(plan, config).items()}
    fronts, tails = [setups[s.name] for s in [*plan.side, *plan.front]], [setups[s.name] for s in plan.tail]
    center = Pipeline(setups[plan.center.name]) if plan.center else None
    front_task, tail_task = (ray.remote(f).options(num_cpus=1, max_retries=0) for f in (front, tail))
    channel.phase("warm-up")
    ray.get([front_task.remote(fronts, 0, [], []) for _ in range(2 * width)])
    documents: list[Parts] = []
    seen: dict[int, int] = {}
    counts = {"waves": 0, "tasks": 0, "resent": 0}

    def first_wave(window: list[bytes]) -> list[Parts]:
        batches: list[Parts] = []
        news: list[Parts] = []
        for events in window:
            tally.event_batch(events)
            routed = router.route_events(events, 0)
            news.append([(~n, d) for n, _, d in routed if plan.by_node[n] in plan.side])
            batches.append([(~n, d) for n, _, d in routed if plan.by_node[n] not in plan.side])
        documents.extend(news)
        first = min(seen.values()) if len(seen) >= width else 0
        ends = [len(documents) - len(news) + i + 1 for i in range(len(batches))]
        refs = [
            front_task.remote(fronts, first, documents[first:end], parts)
            for end, parts in zip(ends, batches, strict=True)
        ]
        results = []
        for ref, end, parts in zip(refs, ends, batches, strict=True):
            try:
                output, pid, has = ray.get(ref)
            except StateLost:  # a process that is new
                counts["resent"] += 1
                output, pid, has = ray.get(front_task.remote(fronts, 0, documents[:end], parts))
            seen[pid] = has
            results.append(output)
        counts["waves"] += 1
        counts["tasks"] += len(refs)
        return results

    def second_wave(released: list[Parts]) -> None:
        if not tails:  # what the first wave made goes to the sink as it is
            for parts in released:
                deliver(parts)
            return
        if one_by_one:
            released = [[part for parts in released for part in parts]]
        refs = [tail_task.remote(tails, parts) for parts in released if any(data for _, data in parts)]
        for output in ray.get(refs):
            deliver(output)
        counts["waves"] += 1
        counts["tasks"] += len(refs)

    def deliver(parts: Parts) -> None:
        for origin, data in parts:
            for _, _, batch in router.route(origin, data, 0):
                tally.result_batch(batch)
                channel.emit(batch)

    def through_center(parts: Parts) -> Parts:
        if center is None:
            return parts
        return [(center.exit, b"".join(center.take(Head(()), origin, data) for origin, data in parts))]

    for window in windows(channel, width):
        released = [through_center(parts) for parts in first_wave(window)]
        second_wave(released)
    if center is not None:
        second_wave([[(center.exit, center.finish())]])
    facts.update(counts)
    channel.metrics(tally.metrics())


def windows(channel: Channel, width: int) -> Iterator[list[bytes]]:
    """Batches of events, up to `width` at a time."""
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    bench_engine.read(channel, waiting.put)
    ended = False
    while not ended:
        window: list[bytes] = []
        deadline = None
        while len(window) < width:
            try:
                batch = waiting.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if batch is None:
                ended = True
                break
            window.append(batch)
            deadline = time.monotonic() + GATHER_SECONDS
        if window:
            yield window
