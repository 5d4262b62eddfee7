"""Runs a bench workload on Dask.

Chains of stateless operators are tasks, which Dask places and steals as it likes; operators with state are
actors, spread over the workers. One worker process per unit of parallelism, with one thread for tasks and
one for actors. Batches are plain bytes. No operator relies on the order of its input, so calls overlap
freely; how many are under way is bounded, and with that the memory.

A worker that dies ends the run: Dask does not bring back an actor's state.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import dask
from distributed import Client, Future, LocalCluster

import bench_worker
import compat
import dask_worker
from bench_worker import Channel, Json, Refusal, Tally, Workload

CALLS_PER_WORKER = 4
"""Calls under way per worker up to which new events are taken: enough to keep workers busy."""

WATCH_SECONDS = 0.2
"""How often to look whether an actor was lost."""


class Stage:
    """A chain of operators in one call, with or without state."""

    def __init__(self, graph: Json, chain: tuple[int, ...], instances: int) -> None:
        nodes = [graph["nodes"][node] for node in chain]
        self.chain = chain
        self.name = "+".join(node["name"] for node in nodes)
        self.stateful = nodes[0]["state"] != "none"
        self.blocking = nodes[0]["blocking"]
        self.instances = instances
        self.actors: list[Any] = []
        self.under_way = self.calls = 0

    def is_idle(self) -> bool:
        """Whether no call of it is under way."""
        return self.under_way == 0


class Engine:
    """Batches come back here between stages, because routing needs one home and they are small."""

    def __init__(self, client: Client, channel: Channel, workload: Workload, parallelism: int, places: Places) -> None:
        self._client, self.workers = client, places.workers
        # Tasks that are free to go anywhere cost the scheduler less.
        self._only = None if places.all else places.workers
        self._channel = channel
        self._router = workload.router(parallelism)
        self._changed = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held: list[Future] = []
        self._turns = itertools.count()
        self.tally = Tally(workload.graph)
        stages = [Stage(workload.graph, c, self._router.instances(c[0])) for c in chains(workload.graph)]
        self.stages = {stage.chain[0]: stage for stage in stages}

    async def deploy(self) -> None:
        """Creates every operator, so that none is created while the clock runs."""
        stateless = [stage.chain for stage in self.stages.values() if not stage.stateful]
        threads = await self._client.nthreads()
        await self._client.run(dask_worker.prepare, stateless, threads, workers=self.workers)
        places = itertools.cycle(self.workers)
        for stage in self.stages.values():
            count = stage.instances if stage.stateful else 0
            created = (self._actor(stage, instance, next(places)) for instance in range(count))
            stage.actors = await asyncio.gather(*created)

    async def _actor(self, stage: Stage, instance: int, place: str) -> Any:
        arguments = stage.chain, instance, stage.instances
        future = self._client.submit(dask_worker.Instance, *arguments, actor=True, workers=[place], pure=False)
        self._held.append(future)
        return await future

    async def run(self) -> None:
        """The whole stream."""
        watch = asyncio.create_task(self._watch())
        loop, reader, events = asyncio.get_running_loop(), ThreadPoolExecutor(1), self._channel.events()
        limit = CALLS_PER_WORKER * len(self.workers)
        while (batch := await self._or_fail(loop.run_in_executor(reader, next, events, None))) is not None:
            self.tally.event_batch(batch)
            self._send(self._router.route_events(batch, next(self._turns)))
            await self._until(lambda: len(self._calls) < limit)
        for stage in self.stages.values():
            # What is above has ended, and each call sends on its output before it counts as ended.
            await self._until(stage.is_idle)
            for output in await self._or_fail(asyncio.ensure_future(self._finish(stage))):
                self._forward(stage, output)
        await self._until(lambda: not self._calls)
        watch.cancel()

    async def _watch(self) -> None:
        """A call of an actor that is lost may never return, and the host may wait for its answer."""
        while all(future.status == "finished" for future in self._held):
            await asyncio.sleep(WATCH_SECONDS)
        self._fail("a worker died, and the operators with state that it held are lost")

    def _fail(self, reason: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(Refusal(f"the run failed in Dask: {reason}"))
            self._changed.set()

    async def _or_fail(self, waited: asyncio.Future[Any]) -> Any:
        await asyncio.wait([waited, self._failed], return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            self._failed.result()
        return waited.result()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not self._failed.done():
            if condition():
                return
            self._changed.clear()
            await self._changed.wait()
        self._failed.result()

    def _send(self, deliveries: list[bench_worker.Delivery]) -> None:
        for node, instance, batch in deliveries:
            if stage := self.stages.get(node):
                stage.under_way += 1
                stage.calls += 1
                self._calls.add(asyncio.create_task(self._call(stage, instance, batch)))
            else:
                self.tally.result_batch(batch)
                self._channel.emit(batch)

    def _forward(self, stage: Stage, output: bytes) -> None:
        self._send(self._router.route(stage.chain[-1], output, next(self._turns)))

    async def _call(self, stage: Stage, instance: int, batch: bytes) -> None:
        try:
            if stage.stateful:
                output = await stage.actors[instance].process(batch)
            else:
                arguments = stage.chain, stage.blocking, batch
                output = await self._client.submit(dask_worker.apply, *arguments, workers=self._only, pure=False)
            self._forward(stage, output)
        except Exception as cause:
            self._fail(f"a call of {stage.name}: {cause}")
        finally:
            stage.under_way -= 1
            self._calls.discard(asyncio.current_task())
            self._changed.set()

    async def _finish(self, stage: Stage) -> list[bytes]:
        if stage.stateful:
            return list(await asyncio.gather(*(actor.finish() for actor in stage.actors)))
        return list((await self._client.run(dask_worker.finish, stage.chain, workers=self.workers)).values())

    async def nodes(self) -> Json:
        """Each machine, for `extra`: the calls it took and the processes they ran in."""
        found: Json = {}
        for used in (await self._client.run(dask_worker.used, workers=self.workers)).values():
            node = found.setdefault(used.host, {"calls": 0, "processes": [], "host": used.host})
            node["calls"] += used.calls
            node["processes"].append(used.process)
        return found


def chains(graph: Json) -> list[tuple[int, ...]]:
    """Chains in topological order, cut where state begins or ends: tasks are free to go where there is
    room, and what has state is not."""

    def is_stateless(node: int) -> bool:
        return bool(graph["nodes"][node]["state"] == "none")

    cut = (itertools.groupby(chain, is_stateless) for chain in bench_worker.chains(graph))
    return sorted(tuple(nodes) for groups in cut for _, nodes in groups)


class Places(NamedTuple):
    """Workers to use, and whether they are all that there are."""

    workers: list[str]
    all: bool


async def places_on(client: Client, nodes: int, address: str) -> Places:
    """Workers on as many machines as were asked for. Which, is the same each time."""
    machines: dict[str, list[str]] = {}
    for worker, machine in sorted((await client.run(dask_worker.where)).items()):
        machines.setdefault(machine, []).append(worker)
    if len(machines) < nodes:
        raise Refusal(
            f"{nodes} nodes were asked for, and the workers of the cluster at {address} are on {len(machines)} "
            f"({', '.join(sorted(machines))}): --nodes {len(machines)}",
            "unsupported",
        )
    workers = [worker for machine in sorted(machines)[:nodes] for worker in machines[machine]]
    return Places(workers, len(machines) == nodes)


def configure(config: Json) -> None:
    """Everything that is not the workload is off."""
    dask.config.set(
        {
            "temporary-directory": config["dir"],
            # A dead worker takes its actors along, so its tasks need no second chance either.
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.work-stealing": config["scheduler"] != "fifo",
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.gil.enabled": False,
            "distributed.diagnostics.nvml": False,
        }
    )


async def drive(channel: Channel) -> None:
    """A run from start-up to teardown."""
    config = channel.config
    configure(config)
    compat.name_semaphores()
    address = config["extra"].get("dask_address")
    channel.phase("start-up", f"Dask at {address} has not answered" if address else "Dask's workers have not come up")
    cluster = address or await LocalCluster(
        n_workers=config["parallelism"],
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        asynchronous=True,
    )
    try:
        # Without `direct_to_workers` each call of an actor would pass through the scheduler.
        client = await Client(cluster, asynchronous=True, direct_to_workers=True)
        await client.wait_for_workers(1 if address else config["parallelism"], timeout=60)
    except OSError as cause:
        raise Refusal(f"no Dask cluster with workers at {address or 'this machine'}: {cause}") from cause
    compat.forget_semaphores()
    channel.phase("deploy", "Dask's workers have not opened the workload")
    for module in (bench_worker, dask_worker):
        await client.upload_file(module.__file__)
    places = await places_on(client, config["nodes"], address or "this machine")
    opened = dask_worker.OpenWorkload(config["library"], config["sha256"], config["open"])
    await client.register_plugin(opened)
    workload = Workload(config["library"], config["open"])
    engine = Engine(client, channel, workload, config["parallelism"], places)
    await engine.deploy()
    await engine.run()
    channel.phase("teardown", "Dask has not shut down")
    calls = {stage.name: stage.calls for stage in engine.stages.values()}
    facts = {"workers": len(engine.workers), "calls": calls}
    channel.metrics({**engine.tally.metrics(), "nodes": await engine.nodes(), "dask": facts})
    await client.unregister_worker_plugin(dask_worker.PLUGIN)
    await client.close()
    if not address:
        await cluster.close()


def main(channel: Channel) -> None:
    """For `bench_worker.run`. Not `asyncio.run`: when a run has failed it would cancel Dask's own tasks and wait for
    them, and those of a lost worker may never end. The process does."""
    asyncio.new_event_loop().run_until_complete(drive(channel))


if __name__ == "__main__":
    bench_worker.run(main)
