"""The operators of a workload on a pool of processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor

from bench_engine import Engine, Run, Stage, run, worker


class Processes(Engine):
    """Process i has instance i of every operator."""

    def start(self, run: Run) -> None:
        """Starts the processes, and opens the workload in each."""
        context = multiprocessing.get_context(run.options["example_python_start"])
        self.workers = [ProcessPoolExecutor(1, context) for _ in range(run.parallelism)]
        for opened in [one.submit(worker.open_run, run.setup) for one in self.workers]:
            opened.result()

    def deploy(self, stages: Sequence[Stage]) -> None:
        """Makes every operator before the clock runs."""
        places = [(stage, instance) for stage in stages for instance in range(stage.instances)]
        for made in [self.workers[instance].submit(worker.create, stage, instance) for stage, instance in places]:
            made.result()

    def submit(self, stage: Stage, instance: int, batch: bytes) -> Future[bytes]:
        """Begins a call: the operators of a stage on a batch."""
        return self.workers[instance].submit(worker.process, stage, instance, batch)

    def finish(self, stage: Stage, instance: int) -> Future[bytes]:
        """Begins the last call of an instance with state, which gives what it still holds."""
        return self.workers[instance].submit(worker.finish, stage, instance)

    def close(self) -> None:
        """Ends the processes."""
        for one in self.workers:
            one.shutdown()


# The processes import this file too.
if __name__ == "__main__":
    run(Processes)
