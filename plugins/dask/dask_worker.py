"""What Dask's workers are sent besides `bench_engine`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distributed import Worker, secede

import bench_engine
from bench_engine import Setup, Stage


class OpenRun:
    """Opens the workload in a worker, with an operator for each of its threads."""

    def __init__(
        self, setup: Setup, stages: Sequence[Stage], threads: Mapping[str, int], numbers: Mapping[str, int], nodes: int
    ) -> None:
        self._setup, self._stages, self._threads = setup, stages, threads
        self._numbers, self._nodes = numbers, nodes

    def setup(self, worker: Worker) -> None:
        """See ``driver.Ship``."""
        bench_engine.worker.look_in(worker.local_directory)
        bench_engine.worker.open_run(self._setup)
        number = self._numbers.get(worker.address)
        for stage in self._stages:
            # Actors make their own. What is at home elsewhere is made here only when it has to come here.
            here = not stage.stateful and stage.home(self._nodes) in (None, number)
            for _ in range(self._threads.get(worker.address, 1) if here else 0):
                bench_engine.worker.create(stage, 0)

    def teardown(self, worker: Worker) -> None:
        """When the run is over."""
        bench_engine.worker.close_run(self._setup.run)


def process_blocking(stage: Stage, instance: int, batch: bytes) -> bytes:
    """A task that waits on the network: Dask may run another one meanwhile."""
    secede()
    return bench_engine.worker.process(stage, instance, batch)
