"""What runs inside Dask's workers: they are sent this module and `bench_worker`."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distributed import Worker, WorkerPlugin, get_worker, secede

from bench_worker import Operator, Workload

PLUGIN = "bench"

Chain = tuple[int, ...]


class Used(NamedTuple):
    """What a worker did."""

    host: str
    process: int
    calls: int


class OpenWorkload(WorkerPlugin):  # type: ignore[misc]
    """Opens the workload once per worker process, and keeps the worker's stateless operators."""

    name = PLUGIN

    def __init__(self, library: str, sha256: str, open_spec: dict[str, Any]) -> None:
        self._library, self._sha256, self._open = library, sha256, open_spec

    def setup(self, worker: Worker) -> None:
        """Dask calls this in each worker, also in those that join later."""
        with open(self._library, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != self._sha256:
            raise RuntimeError(f"{self._library} on {worker.address} is not the library of this bench")
        self.workload = Workload(self._library, self._open)
        self.calls = 0
        self._lock = threading.Lock()
        # Operators that no task is using.
        self._idle: dict[Chain, list[Operator]] = {}

    def prepare(self, chain: Chain, count: int) -> None:
        """Creates operators before the clock runs."""
        self._idle[chain] = [self.workload.operator(chain) for _ in range(count)]

    def apply(self, chain: Chain, batch: bytes) -> bytes:
        """Stateless, so any operator that is free will do."""
        with self._lock:
            idle = self._idle.setdefault(chain, [])
            operator = idle.pop() if idle else None
        operator = operator or self.workload.operator(chain)
        output = operator.process(batch)
        with self._lock:
            idle.append(operator)
            self.calls += 1
        return output

    def count(self) -> None:
        """A call of an actor."""
        with self._lock:
            self.calls += 1

    def finish(self, chain: Chain) -> bytes:
        """Flushes all operators of a chain."""
        return b"".join(operator.finish() for operator in self._idle.pop(chain, []))


def prepare(chains: Sequence[Chain], threads: Mapping[str, int], dask_worker: Worker) -> None:
    """Once per worker: an operator of each chain for each of its threads, which Dask counts by address."""
    for chain in chains:
        dask_worker.plugins[PLUGIN].prepare(chain, threads.get(dask_worker.address, 1))


def _opened(worker: Worker) -> OpenWorkload:
    plugin: OpenWorkload = worker.plugins[PLUGIN]
    return plugin


def where(dask_worker: Worker) -> str:
    """The machine that a worker is on, as it calls itself."""
    return os.uname().nodename


def used(dask_worker: Worker) -> Used:
    """What a worker did."""
    return Used(os.uname().nodename, os.getpid(), _opened(dask_worker).calls)


def finish(chain: Chain, dask_worker: Worker) -> bytes:
    """Once per worker, after the last task of a chain."""
    return _opened(dask_worker).finish(chain)


def apply(chain: Chain, blocking: bool, batch: bytes) -> bytes:
    """A task: a batch through a chain of stateless operators."""
    if blocking:
        secede()  # it waits on the network: Dask may run another task meanwhile
    return _opened(get_worker()).apply(chain, batch)


class Instance:
    """An actor: one instance of a chain that keeps state."""

    def __init__(self, chain: Chain, instance: int, of: int) -> None:
        self._plugin = _opened(get_worker())
        self._operator = self._plugin.workload.operator(chain, instance, of)

    def process(self, batch: bytes) -> bytes:
        """Dask runs the calls of a worker's actors in one thread."""
        self._plugin.count()
        return self._operator.process(batch)

    def finish(self) -> bytes:
        """Once, after the last batch."""
        return self._operator.finish()
