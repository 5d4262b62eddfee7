"""Runs a bench workload on Dask.

Stages without state are tasks, which Dask places and steals as it likes; instances of stages with state are actors,
spread over the workers. One worker process per unit of parallelism, with one thread for tasks and one for actors.

A worker that dies ends the run: Dask does not bring back an actor's state.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import dask
from distributed import Client, LocalCluster

import bench_engine
import compat
import dask_worker
from bench_engine import Engine, Json, Refusal, Run, Stage, worker

WATCH_SECONDS = 0.2
"""How often to look whether an actor was lost."""


class Dask(Engine):
    """Dask, on this machine or on a cluster that the user runs."""

    async def start(self, run: Run) -> None:
        """See `Engine`."""
        address = run.options["dask_address"]
        self.run, self.where, count = run, address or "this machine", 1 if address else run.parallelism
        run.waits_for(f"Dask at {address} has not answered" if address else "Dask's workers have not come up")
        configure(run)
        compat.name_semaphores()
        alone: Json = {"host": "127.0.0.1", "dashboard_address": None, "asynchronous": True}
        self.cluster = None if address else await LocalCluster(n_workers=count, threads_per_worker=1, **alone)
        try:
            # Without `direct_to_workers` each call of an actor would pass through the scheduler.
            self.client = await Client(address or self.cluster, asynchronous=True, direct_to_workers=True)
            await self.client.wait_for_workers(count, timeout=60)
        except OSError as cause:
            raise Refusal(f"no Dask cluster with workers at {self.where}: {cause}") from cause
        compat.forget_semaphores()

    async def deploy(self, stages: Sequence[Stage]) -> None:
        """See `Engine`."""
        code = bench_engine.archive(os.path.join(self.run.dir, f"bench-{self.run.id}.zip"), dask_worker.__file__)
        await self.client.upload_file(code)
        await self._choose_workers()
        opened = dask_worker.OpenRun(self.run.setup, stages, await self.client.nthreads())
        await self.client.register_plugin(opened)
        places = itertools.cycle(self.workers)
        self.homes = {stage: next(places) for stage in stages if stage.stateful and stage.concurrency > 1}
        await asyncio.gather(*(self._create(stage) for stage in self.homes))
        self.held = {
            (stage, instance): self.client.submit(
                worker.Instance, self.run.setup, stage, instance, actor=True, workers=[next(places)], pure=False
            )
            for stage in stages
            if stage.stateful and stage not in self.homes
            for instance in range(stage.instances)
        }
        self.actors = dict(zip(self.held, await asyncio.gather(*self.held.values()), strict=True))

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

    async def metrics(self) -> Json:
        """See `Engine`."""
        used = await self.client.run(worker.used, self.run.id, workers=self.workers)
        return {"nodes": worker.nodes(used.values()), "dask": {"workers": len(self.workers)}}

    async def close(self) -> None:
        """See `Engine`."""
        await self.client.unregister_worker_plugin(self.run.id)
        await self.client.close()
        if self.cluster is not None:
            await self.cluster.close()


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
