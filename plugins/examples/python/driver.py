"""The operators of a workload on a pool of processes. Process i has instance i of every operator."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from concurrent.futures import Future, ProcessPoolExecutor

import bench_worker
from bench_worker import Channel, Delivery, Json, Operator, Workload

operators: dict[int, Operator] = {}  # of this process


def deploy(library: str, spec: Json, chains: list[list[int]], instance: int, counts: dict[int, int]) -> None:
    workload = Workload(library, spec)
    for chain in chains:
        if instance < counts[chain[0]]:
            operators[chain[0]] = workload.operator(chain, instance, counts[chain[0]])


def call(node: int, batch: bytes | None) -> bytes:
    return operators[node].finish() if batch is None else operators[node].process(batch)


def main(channel: Channel) -> None:
    config, turn, changed, waiting = channel.config, itertools.count(), threading.Condition(), [0]
    workload = Workload(config["library"], config["open"])
    router, chains = workload.router(config["parallelism"]), bench_worker.chains(workload.graph)
    counts, last = {c[0]: router.instances(c[0]) for c in chains}, {c[0]: c[-1] for c in chains}
    context = multiprocessing.get_context(config["options"]["example_python_start"])
    pools = [ProcessPoolExecutor(1, context) for _ in range(config["parallelism"])]
    opened = [pool.submit(deploy, config["library"], config["open"], chains, i, counts) for i, pool in enumerate(pools)]
    for one in opened:
        one.result()

    def deliver(deliveries: list[Delivery]) -> None:
        for node, instance, batch in deliveries:
            submit(node, instance, batch) if node in last else channel.emit(batch)

    def submit(node: int, instance: int, batch: bytes | None) -> None:
        def done(future: Future[bytes]) -> None:
            try:
                deliver(router.route(last[node], future.result(), next(turn)))
            except BaseException as error:
                channel.fatal(error)
            with changed:
                waiting[0] -= 1
                changed.notify_all()

        with changed:
            waiting[0] += 1
        pools[instance].submit(call, node, batch).add_done_callback(done)

    def settle() -> None:
        with changed:
            changed.wait_for(lambda: not waiting[0])

    for events in channel.events():
        deliver(router.route_events(events, next(turn)))
    for node in [None, *last]:  # what is under way first, then one operator after the other
        for instance in range(counts[node] if node is not None else 0):
            submit(node, instance, None)
        settle()
    for pool in pools:
        pool.shutdown()


if __name__ == "__main__":
    bench_worker.run(main)
