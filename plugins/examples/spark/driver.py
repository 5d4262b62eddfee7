"""Runs a bench workload on Apache Spark, in local mode.

A call of a stage without state is a Spark job with one task; what is lost with a Python worker, Spark does again. A job
costs tens of milliseconds whatever is in it, so batches that wait are joined. Spark keeps no state between jobs:
instances that have some live in the driver, as what `foreachBatch` gathers does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pyspark import SparkConf, SparkContext

from bench_engine import Engine, Refusal, Run, Setup, Stage, archive, run, worker

ATTEMPTS = 4
"""How often Spark tries a task, unless the run says more."""
SETTINGS = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.host": "127.0.0.1"}


class Spark(Engine):
    """Spark on this machine."""

    calls = 1
    waiting = 7

    def start(self, run: Run) -> None:
        """See `Engine`."""
        self.setup = run.setup
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        attempts = max(ATTEMPTS, run.retries + 1)
        settings = SparkConf().setMaster(f"local[{run.parallelism},{attempts}]").setAppName("bench")
        try:
            self.spark = SparkContext(conf=settings.setAll(list(SETTINGS.items())))
        except Exception as cause:
            raise Refusal(f"Spark did not start: {cause}", remedy="It needs Java 17 or 21; see run.log") from cause
        self.spark.setLogLevel("ERROR")
        self.spark.addPyFile(archive(os.path.join(run.dir, "bench_code.zip")))
        self.threads = ThreadPoolExecutor(thread_name_prefix="job", max_workers=run.parallelism * 16)

    def deploy(self, stages: Sequence[Stage]) -> None:
        """See `Engine`. What has no state is made in Spark's workers, by the first calls there."""
        worker.open_run(self.setup)
        for stage in stages:
            for instance in range(stage.instances if stage.stateful else 0):
                worker.create(stage, instance)

    def submit(self, stage: Stage, instance: int, batch: bytes) -> Future[bytes]:
        """See `Engine`."""
        if stage.stateful:
            return self.threads.submit(worker.process, stage, instance, batch)
        return self.threads.submit(job, self.spark, self.setup, stage, batch)

    def finish(self, stage: Stage, instance: int) -> Future[bytes]:
        """See `Engine`."""
        return self.threads.submit(worker.finish, stage, instance)

    def close(self) -> None:
        """See `Engine`."""
        self.spark.stop()


def job(spark: SparkContext, setup: Setup, stage: Stage, batch: bytes) -> bytes:
    """A job of one task."""

    def task(given: bytes) -> bytes:
        worker.open_run(setup)
        return worker.process(stage, 0, given)

    output: bytes = spark.parallelize([batch], 1).map(task).collect()[0]
    return output


if __name__ == "__main__":
    run(Spark)
