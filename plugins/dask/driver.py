"""Runs a bench workload on Dask.

Stages without state are tasks, which Dask places and steals as it likes; instances of stages with state are actors,
spread over the workers. One worker process per unit of parallelism, with one thread for tasks and one for actors.

Dask does not bring back an actor's state. With retries the instances of a worker that died are made anew on another,
and the SDK gives them what they had seen; without, the run ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import platform
from collections.abc import Callable, Sequence
from typing import Any

import dask
import distributed
from distributed import Client, KilledWorker, LocalCluster, SchedulerPlugin, WorkerPlugin
from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

import bench_engine
import compat
import dask_worker
from bench_engine import MAKE_ANEW, Engine, Json, Refusal, Run, Stage, worker
from bench_engine.clocks import Reading
from places import Calls, Home, Machines, Place, Places, chosen, opened

ANSWER_SECONDS = 30.0
"""For the scheduler to answer."""
WORKER_SECONDS = 25.0
"""For a worker to come, and for the first task of each."""
RESTART_SECONDS = 60.0
"""For a worker to come where none is left."""
WATCH_SECONDS = 0.2
"""How often to look whether a worker was lost."""
LOOK_SECONDS = 1.0
"""How often to ask for one that came in its place."""


class Dask(Engine):
    """Dask, on this machine or on a cluster that the user runs."""

    lost = (KilledWorker,)
    """Also without retries, when its worker may be missed only later: the run then ends with what lived there."""

    async def start(self, run: Run) -> None:
        """See `Engine`."""
        address = run.options["dask_address"]
        self.run, self.where, self.cluster = run, address or "this machine", None
        self.places, self.machines, self.anywhere = Places(), Machines(), Calls(self.where)
        self.looks = asyncio.Lock()
        configure(run)
        # Without `direct_to_workers` each call of an actor would pass through the scheduler.
        options: Json = {"asynchronous": True, "direct_to_workers": True, "timeout": ANSWER_SECONDS}
        if address:
            run.waits_for(f"Dask at {address} has not answered")
            self.client = await self._join(address, options)
            return
        run.waits_for("Dask's workers have not come up")
        compat.name_semaphores()
        alone: Json = {"host": "127.0.0.1", "dashboard_address": None, "asynchronous": True}
        self.cluster = await LocalCluster(n_workers=run.parallelism, threads_per_worker=1, **alone)
        self.client = await Client(self.cluster, **options)
        await self.client.wait_for_workers(run.parallelism)
        compat.forget_semaphores()

    async def _join(self, address: str, options: Json) -> Client:
        remedy = "give the address that the scheduler printed when it started, with port 8786 unless told another"
        await asyncio.to_thread(bench_engine.reach, address, "Dask's scheduler", remedy)
        client = Client(address, **options)
        answered = False
        try:
            await asyncio.wait_for(client, ANSWER_SECONDS)
            answered = True
            await client.wait_for_workers(1, timeout=WORKER_SECONDS)
            found = await client.get_versions()
        except TimeoutError as cause:
            if answered:
                what = f"the Dask cluster at {address} has no workers"
                raise Refusal(what, "unavailable", f"dask worker {address}    (on each machine to use)") from cause
            what = f"what listens at {address} has not answered as Dask's scheduler for {ANSWER_SECONDS:.0f} s"
            raise Refusal(what, "unavailable", remedy) from cause
        except OSError as cause:
            raise Refusal(f"Dask at {address} does not answer: {cause}", "unavailable", remedy) from cause
        check_versions(found, address)
        return client

    async def deploy(self, stages: Sequence[Stage]) -> None:
        """See `Engine`."""
        await self._choose_workers()
        code = bench_engine.archive(os.path.join(self.run.dir, f"bench-{self.run.id}.zip"), dask_worker.__file__)
        name, setup = f"bench-{self.run.id}", self.run.setup
        self.registered = [f"{name}-code", name]
        if self.cluster is None:
            # Whatever becomes of this process: nothing of it stays on the scheduler.
            forget = Forget(f"{name}-forget", self.client.id, list(self.registered))
            self.registered.append(forget.name)
            await self.client.register_plugin(forget)
        # The scheduler reads the graph of tasks before it hands them out.
        await self.client.register_plugin(SchedulerUploadFile(code), name=f"{name}-code")
        shipped: list[Any] = [UploadFile(code)]
        if self.cluster is None and not all((await self.client.run(has_file, setup.library, setup.sha256)).values()):
            shipped.append(Library(setup.library, setup.sha256))
        self.run.waits_for("the workers of Dask have not prepared their indexes and opened the workload")
        threads = await self.client.nthreads()
        opening = dask_worker.OpenRun(setup, stages, threads, self.machines.numbers, self.run.nodes)
        await self.client.register_plugin(Ship(name, shipped, pickle.dumps(opening)))
        self.run.waits_for("the workers of Dask have not made the operators")
        # Also shows whether they take tasks at all.
        signs = {address: self._clock(address) for address in self.workers}
        for (address, sign), clock in zip(signs.items(), await self._soon(signs), strict=True):
            self.places.add(Place(address, clock, sign, Reading(*await clock.read())))
        instances = [(stage, i) for stage in stages if stage.stateful for i in range(stage.instances)]
        # What is counted in one process has the first places.
        instances.sort(key=lambda one: one[0].concurrency == 1)
        await asyncio.gather(*(self._make(stage, instance, self.places.take()) for stage, instance in instances))

    def _clock(self, address: str) -> Any:
        return self.client.submit(worker.Clock, actor=True, workers=[address], pure=False)

    async def _soon(self, futures: dict[str, Any]) -> list[Any]:
        """What a small task of each worker returns; on a cluster of the user's, within a time."""
        wait = WORKER_SECONDS if self.cluster is None else None
        with contextlib.suppress(TimeoutError):
            await distributed.wait(list(futures.values()), timeout=wait)
        if busy := [address for address, future in futures.items() if not future.done()]:
            tasks = await self.client.processing()
            others = {address: max(0, len(tasks.get(address, ())) - 1) for address in busy}
            words = ", ".join(f"{address} has {count} tasks of others" for address, count in others.items())
            raise Refusal(
                f"no task has started on {len(busy)} of the {len(futures)} workers at {self.where} for "
                f"{WORKER_SECONDS:.0f} s, because all their threads are taken: {words}",
                "unavailable",
                "end what runs there, or start workers with more --nthreads",
            )
        return list(await asyncio.gather(*futures.values()))

    async def _choose_workers(self) -> None:
        """Workers on as many machines as were asked for. Which, is the same each time."""
        machines = await self.client.run(platform.node)
        if (found := sorted(set(machines.values()))) and len(found) < self.run.nodes:
            raise Refusal(
                f"{self.run.nodes} nodes were asked for, and the workers of the cluster at {self.where} are on "
                f"{len(found)} ({', '.join(found)}): --nodes {len(found)}",
                "unsupported",
            )
        self._use(machines)

    def _use(self, machines: dict[str, str]) -> None:
        before = {place.reading.host for place in self.places.up}
        self.workers = chosen(machines, self.run.nodes, before)
        self.machines.use(machines, self.workers)
        # Tasks that are free to go anywhere cost the scheduler less.
        self.only = None if len(self.workers) == len(machines) else self.workers

    def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
        """See `Engine`."""
        if stage.stateful:
            place, actor, _ = self.places.home(stage, instance)
            if actor is not None:
                return place.follow(lambda: actor.process(batch))
            return place.follow(lambda: self._task_at(place, dask_worker.process_blocking, stage, instance, batch))
        process = dask_worker.process_blocking if stage.blocking else worker.process
        only, calls = self.only, self.anywhere
        number = stage.home(self.run.nodes)
        if number is not None and (bound := self.machines.bound(number, self.places.addresses)):
            only, calls = bound
        if only is None:
            return self.client.submit(process, stage, instance, batch, pure=False)
        return calls.follow(lambda: self.client.submit(process, stage, instance, batch, workers=only, pure=False))

    def finish(self, stage: Stage, instance: int) -> Any:
        """See `Engine`."""
        place, actor, _ = self.places.home(stage, instance)
        if actor is not None:
            return place.follow(lambda: actor.finish())  # noqa: PLW0108, the name alone may raise
        return place.follow(lambda: self._task_at(place, worker.finish, stage, instance))

    def _task_at(self, place: Place, function: Callable[..., Any], stage: Stage, *rest: Any) -> Any:
        """A task on the one worker whose calls of a stage are counted: an actor would make one at a time."""
        return self.client.submit(
            function, stage, *rest, workers=[place.address], allow_other_workers=False, pure=False
        )

    # ── Workers that are lost ────────────────────────────────────────────────────────────────────────

    async def restore(self, stage: Stage, instance: int) -> None:
        """See `Engine`. Any worker will do, and the one that starts in the place of another is not waited for."""
        while (place := self.places.take()) is None:
            await asyncio.sleep(WATCH_SECONDS)
        await self._make(stage, instance, place)

    async def _make(self, stage: Stage, instance: int, place: Place | None) -> None:
        if place is None:
            raise Refusal(f"the run failed in Dask: all workers at {self.where} died before it began")
        if stage.concurrency > 1:
            await place.calls.follow(lambda: self._task_at(place, worker.create, stage, instance))
            return self.places.settle(stage, instance, Home(place, None, None))
        future = self.client.submit(
            worker.Instance, self.run.setup, stage, instance, actor=True, workers=[place.address], pure=False
        )
        actor = await place.calls.follow(lambda: future)
        self.places.settle(stage, instance, Home(place, actor, future))

    async def watch(self) -> None:
        """A call of an actor that is lost may never return, and the host may wait for its answer."""
        wanted, now = len(self.places.up), asyncio.get_running_loop().time
        alone_since, looking = now(), None
        while True:
            self._take_note()
            if looking is not None and looking.done():
                looking = looking.result()
            if looking is None and len(self.places.up) < wanted:
                looking = asyncio.ensure_future(self._look_again(LOOK_SECONDS))
            if self.places.up:
                alone_since = now()
            elif now() - alone_since > RESTART_SECONDS:
                raise Refusal(
                    f"the run failed in Dask: no worker at {self.where} is left, and none has come for "
                    f"{RESTART_SECONDS:.0f} s"
                )
            if self.cluster is not None and self.places.lost and compat.every_worker_runs(self.cluster):
                compat.forget_semaphores()
            await asyncio.sleep(WATCH_SECONDS)

    def _take_note(self) -> None:
        """Of workers that went."""
        for place in self.places.gone:
            if place.instances and not self.run.retries:
                raise Refusal(
                    f"the run failed in Dask: {place} died, and the operators with state that it held are lost",
                    remedy=MAKE_ANEW,
                )
            self.run.log(f"{place} died", "warn")
            place.lose()
            compat.forget_worker(self.client, place.address)
            self.machines.lose(self.places.addresses, f"{place} died")
            if self.only is not None and not set(self.only) & set(self.places.addresses):
                # Dask would keep them until one of those workers is back.
                self.anywhere.lose(f"{place} died")
                self.anywhere = Calls(self.where)

    async def _look_again(self, pause: float = 0.0) -> None:
        """For workers that have come in the place of those that are gone."""
        await asyncio.sleep(pause)
        try:
            async with self.looks:
                machines = await self.client.run(platform.node, on_error="ignore")
                if not machines:
                    return
                self._use(machines)
                for address in sorted(set(self.workers) - set(self.places.addresses)):
                    if place := await opened(address, self._clock(address), WORKER_SECONDS):
                        self.places.add(place)
        except OSError as cause:
            raise Refusal(f"the run failed in Dask: {self.where} cannot be reached any more: {cause}") from cause

    # ── What is told of it ───────────────────────────────────────────────────────────────────────────

    def clocks(self) -> Sequence[Callable[[], Any]]:
        """See `Engine`."""
        if self.cluster is not None:  # all have one
            return []
        return [place.clock.read for place in self.places.up]

    async def metrics(self) -> Json:
        """See `Engine`."""
        self._take_note()
        if lost := self.places.lost:
            await self._look_again()
        # One that has just come may not have opened the run.
        on_error = "ignore" if self.run.retries else "raise"
        used = await self.client.run(worker.used, self.run.id, workers=self.workers, on_error=on_error)
        facts = {"workers": len(used), "lost_workers": lost}
        return {"nodes": worker.nodes(self.places.used(used.values())), "dask": facts}

    async def close(self) -> None:
        """See `Engine`."""
        if self.cluster is None:
            # Each by its kind: the scheduler's log would have a traceback of every name that it does not know.
            for name in self.registered:
                is_ship = name == f"bench-{self.run.id}"
                unregister = (
                    self.client.unregister_worker_plugin if is_ship else self.client.unregister_scheduler_plugin
                )
                with contextlib.suppress(ValueError):
                    await unregister(name)
        await self.client.close()
        if self.cluster is not None:
            await self.cluster.close()


class Ship(WorkerPlugin):  # type: ignore[misc]
    """In each worker, also in those that join later: what it needs of ours, and then the workload opened.

    Dask sets up all plugins of a worker that joins at once, so this is one. It is of the module that is run, so that
    Dask sends the class along with it.
    """

    def __init__(self, name: str, shipped: Sequence[Any], opening: bytes) -> None:
        self.name, self.shipped, self.opening = name, shipped, opening
        self.opened: Any = None

    async def setup(self, worker: Any) -> None:
        """Dask calls this."""
        for file in self.shipped:
            await file.setup(worker)
        self.opened = pickle.loads(self.opening)
        self.opened.setup(worker)

    def teardown(self, worker: Any) -> None:
        """And this, when the run is over."""
        if self.opened is not None:
            self.opened.teardown(worker)


class Library:
    """The workload library, for workers that lack it. Sent along like `Ship`."""

    def __init__(self, path: str, sha256: str) -> None:
        self.name, self.sha256 = os.path.basename(path), sha256
        with open(path, "rb") as file:
            self.bytes = file.read()

    async def setup(self, worker: Any) -> None:
        """Puts it where `worker.look_in` looks. One that is there is replaced and never written over.

        This process may have loaded it for an earlier run: it is mapped, and would change under its feet.
        """
        path = os.path.join(worker.local_directory, self.name)
        if has_file(path, self.sha256):
            return
        with open(f"{path}.part", "wb") as file:
            file.write(self.bytes)
        os.replace(f"{path}.part", path)


class Forget(SchedulerPlugin):  # type: ignore[misc]
    """On the scheduler: takes back what a run had put there once its client is gone, however it went.

    It is of the module that is run, so that Dask sends the class along with it.
    """

    def __init__(self, name: str, client: str, plugins: list[str]) -> None:
        self.name, self.client, self.plugins = name, client, plugins

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Dask calls this."""
        if client == self.client:
            scheduler.loop.add_callback(self.take_back, scheduler)

    async def take_back(self, scheduler: Any) -> None:
        """Whatever of it is still there."""
        for name in self.plugins:
            with contextlib.suppress(ValueError):
                await scheduler.unregister_worker_plugin(None, name)
        for name in [*self.plugins, self.name]:
            with contextlib.suppress(ValueError):
                await scheduler.unregister_scheduler_plugin(name)


def has_file(path: str, sha256: str) -> bool:
    """Whether a worker has the very file. Sent along like `Ship`."""
    import hashlib

    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == sha256
    except OSError:
        return False


def check_versions(found: Json, address: str) -> None:
    """Refuses a cluster of another Dask or Python: it may work until something cannot be unpickled."""

    def said(process: Json) -> str:
        python = ".".join(str(process["host"]["python"]).split(".")[:2])
        return f"Dask {process['packages']['distributed']} on Python {python}"

    ours = said(found["client"])
    processes = {"the scheduler": found["scheduler"], **found["workers"]}
    others = [f"{who} has {said(process)}" for who, process in processes.items() if process and said(process) != ours]
    if others:
        raise Refusal(
            f"the Dask cluster at {address} has another version than this bench uses, which is {ours}: {others[0]}",
            "unavailable",
            "install the cluster's version into an environment and set BENCH_PYTHON_DASK to its python",
        )


def configure(run: Run) -> None:
    """Everything that is not the workload is off."""
    dask.config.set(
        {
            "temporary-directory": run.dir,
            # How often they go again is counted by the SDK.
            "distributed.scheduler.allowed-failures": 0,
            "distributed.scheduler.work-stealing": run.scheduler != "fifo",
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.gil.enabled": False,
            "distributed.diagnostics.nvml": False,
        }
    )


if __name__ == "__main__":
    bench_engine.run(Dask)
