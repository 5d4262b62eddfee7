"""Runs a bench workload on Dask.

Stages without state are tasks, which Dask places and steals as it likes; instances of stages with state are actors,
spread over the workers. One worker process per unit of parallelism, with one thread for tasks and one for actors.

A worker that dies ends the run: Dask does not bring back an actor's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import dask
import distributed
from distributed import Client, LocalCluster, SchedulerPlugin
from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

import bench_engine
import compat
import dask_worker
from bench_engine import Engine, Json, Refusal, Run, Stage, worker

ANSWER_SECONDS = 30.0
"""For the scheduler to answer."""
WORKER_SECONDS = 25.0
"""For a worker to come, and for the first task of each."""
WATCH_SECONDS = 0.2
"""How often to look whether an actor was lost."""


class Dask(Engine):
    """Dask, on this machine or on a cluster that the user runs."""

    async def start(self, run: Run) -> None:
        """See `Engine`."""
        address = run.options["dask_address"]
        self.run, self.where, self.cluster = run, address or "this machine", None
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
        forget = Forget(f"bench-{self.run.id}-forget", self.client.id, [f"bench-{self.run.id}-code", self.run.id])
        if self.cluster is None:
            # Whatever becomes of this process: nothing of it stays on the scheduler.
            forget.plugins.append(f"bench-{self.run.id}-library")
            await self.client.register_plugin(forget)
        # The scheduler reads the graph of tasks before it hands them out.
        for sent in SchedulerUploadFile(code), UploadFile(code):
            await self.client.register_plugin(sent, name=f"bench-{self.run.id}-code")
        setup = self.run.setup
        if self.cluster is None:
            has = await self.client.run(dask_worker.has_library, setup.library, setup.sha256)
            if not all(has.values()):
                library = UploadFile(setup.library, load=False)
                await self.client.register_plugin(library, name=f"bench-{self.run.id}-library")
        self.registered = [forget.name, *forget.plugins]
        self.run.waits_for("the workers of Dask have not prepared their indexes and opened the workload")
        await self.client.register_plugin(dask_worker.OpenRun(setup, stages, await self.client.nthreads()))
        self.run.waits_for("the workers of Dask have not made the operators")
        # Also shows whether they take tasks at all.
        self.clock_futures = {
            address: self.client.submit(worker.Clock, actor=True, workers=[address], pure=False)
            for address in self.workers
        }
        self.worker_clocks = await self._soon(self.clock_futures)
        places = itertools.cycle(self.workers)
        self.homes = {stage: next(places) for stage in stages if stage.stateful and stage.concurrency > 1}
        await asyncio.gather(*(self._create(stage) for stage in self.homes))
        self.held = {
            (stage, instance): self.client.submit(
                worker.Instance, setup, stage, instance, actor=True, workers=[next(places)], pure=False
            )
            for stage in stages
            if stage.stateful and stage not in self.homes
            for instance in range(stage.instances)
        }
        self.actors = dict(zip(self.held, await asyncio.gather(*self.held.values()), strict=True))

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
        machines: dict[str, list[str]] = {}
        for address, machine in sorted((await self.client.run(platform.node)).items()):
            machines.setdefault(machine, []).append(address)
        if len(machines) < self.run.nodes:
            raise Refusal(
                f"{self.run.nodes} nodes were asked for, and the workers of the cluster at {self.where} are on "
                f"{len(machines)} ({', '.join(sorted(machines))}): --nodes {len(machines)}",
                "unsupported",
            )
        self.workers = [address for machine in sorted(machines)[: self.run.nodes] for address in machines[machine]]
        # Tasks that are free to go anywhere cost the scheduler less.
        self.only = None if len(machines) == self.run.nodes else self.workers

    def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
        """See `Engine`."""
        if stage in self.homes:
            return self._at_home(dask_worker.process_blocking, stage, instance, batch)
        if stage.stateful:
            return self.actors[stage, instance].process(batch)
        process = dask_worker.process_blocking if stage.blocking else worker.process
        return self.client.submit(process, stage, instance, batch, workers=self.only, pure=False)

    def finish(self, stage: Stage, instance: int) -> Any:
        """See `Engine`."""
        if stage in self.homes:
            return self._at_home(worker.finish, stage, instance)
        return self.actors[stage, instance].finish()

    async def _create(self, stage: Stage) -> None:
        for instance in range(stage.instances):
            await self._at_home(worker.create, stage, instance)

    def _at_home(self, function: Callable[..., Any], stage: Stage, *rest: Any) -> Any:
        """A task on the one worker whose calls of a stage are counted: an actor would make one at a time."""
        return self.client.submit(
            function, stage, *rest, workers=[self.homes[stage]], allow_other_workers=False, pure=False
        )

    async def watch(self) -> None:
        """A call of an actor that is lost may never return, and the host may wait for its answer."""
        while all(future.status == "finished" for future in self.held.values()):
            await asyncio.sleep(WATCH_SECONDS)
        raise Refusal("the run failed in Dask: a worker died, and the operators with state that it held are lost")

    def clocks(self) -> Sequence[Callable[[], Any]]:
        """See `Engine`."""
        return [clock.read for clock in self.worker_clocks] if self.cluster is None else []  # or all have one

    async def metrics(self) -> Json:
        """See `Engine`."""
        used = await self.client.run(worker.used, self.run.id, workers=self.workers)
        return {"nodes": worker.nodes(used.values()), "dask": {"workers": len(self.workers)}}

    async def close(self) -> None:
        """See `Engine`."""
        if self.cluster is None:
            # Not all are of both kinds, and the library may have been there.
            for name in self.registered:
                for unregister in self.client.unregister_worker_plugin, self.client.unregister_scheduler_plugin:
                    with contextlib.suppress(ValueError):
                        await unregister(name)
        await self.client.close()
        if self.cluster is not None:
            await self.cluster.close()


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
            # A dead worker takes its actors along, so its tasks need no second chance either.
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
