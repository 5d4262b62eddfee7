"""What runs in a runtime's worker processes: the operators of a run, opened once in each process.

Everything here takes and returns what can be pickled. Any thread may call it.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Iterable
from typing import NamedTuple

from bench_engine.graph import Json, Stage
from bench_engine.workload import Operator, Workload

VERSION = "0.1.0"


class Setup(NamedTuple):
    """What a worker process needs to know of a run."""

    run: str
    library: str
    sha256: str
    open: str
    version: str = VERSION


class Used(NamedTuple):
    """What a worker process did."""

    host: str
    process: int
    calls: int


class _Instance:
    """An operator for each call that may be under way, and the right to use one."""

    def __init__(self, operators: Iterable[Operator]) -> None:
        self._operators = list(operators)
        self._free: queue.LifoQueue[Operator] = queue.LifoQueue()
        for operator in self._operators:
            self._free.put(operator)

    def process(self, batch: bytes) -> bytes:
        operator = self._free.get()
        try:
            return operator.process(batch)
        finally:
            self._free.put(operator)

    def finish(self) -> bytes:
        return b"".join(operator.finish() for operator in self._operators)


class _Opened:
    """A run in this process."""

    def __init__(self, setup: Setup) -> None:
        self._workload = Workload(find_library(setup.library, setup.sha256), setup.open)
        self._lock = threading.Lock()
        self._instances: dict[tuple[int, int], _Instance] = {}
        self._idle: dict[int, list[Operator]] = {}
        self.calls = 0

    def create(self, stage: Stage, instance: int) -> None:
        if stage.stateful:
            self._instances[stage.number, instance] = _Instance(
                self._workload.operator(stage.nodes, instance, stage.instances) for _ in range(stage.concurrency)
            )
        else:
            self._give_back(stage, self._workload.operator(stage.nodes))

    def process(self, stage: Stage, instance: int, batch: bytes) -> bytes:
        with self._lock:
            self.calls += bool(batch)
        if stage.stateful:
            return self._instances[stage.number, instance].process(batch)
        with self._lock:
            idle = self._idle.get(stage.number)
            operator = idle.pop() if idle else None
        operator = operator or self._workload.operator(stage.nodes)
        output = operator.process(batch)
        self._give_back(stage, operator)
        return output

    def finish(self, stage: Stage, instance: int) -> bytes:
        return self._instances[stage.number, instance].finish()

    def _give_back(self, stage: Stage, operator: Operator) -> None:
        with self._lock:
            self._idle.setdefault(stage.number, []).append(operator)


_OPENED: dict[str, _Opened] = {}
_OPENING = threading.Lock()


def open_run(setup: Setup) -> None:
    """Opens the workload in this process, unless it is."""
    if setup.version != VERSION:
        raise RuntimeError(
            f"this worker has bench_engine {VERSION}, and the run has {setup.version}: restart the runtime's workers"
        )
    with _OPENING:
        if setup.run not in _OPENED:
            _OPENED[setup.run] = _Opened(setup)


def create(stage: Stage, instance: int) -> None:
    """Makes an instance of a stage with state, which lives where it was made; or, of one without, one more operator."""
    _opened(stage.run).create(stage, instance)


def process(stage: Stage, instance: int, batch: bytes) -> bytes:
    """A call: takes a batch through the operators of a stage. Without state any process that opened the run will do."""
    return _opened(stage.run).process(stage, instance, batch)


def finish(stage: Stage, instance: int) -> bytes:
    """What an instance with state still holds. Once, after its last batch."""
    return _opened(stage.run).finish(stage, instance)


class Instance:
    """An instance of a stage with state as an object: an actor, where the runtime has those."""

    def __init__(self, setup: Setup, stage: Stage, instance: int) -> None:
        open_run(setup)
        create(stage, instance)
        self._stage, self._instance = stage, instance

    def process(self, batch: bytes) -> bytes:
        """See :func:`process`."""
        return process(self._stage, self._instance, batch)

    def finish(self) -> bytes:
        """See :func:`finish`."""
        return finish(self._stage, self._instance)


def used(run: str) -> Used:
    """What this process did in a run."""
    return Used(os.uname().nodename, os.getpid(), _opened(run).calls)


def close_run(run: str) -> None:
    """Forgets a run, where the process outlives it."""
    _OPENED.pop(run, None)


def nodes(some: Iterable[Used]) -> Json:
    """Each machine, as the record wants it: the calls that it took and the processes that they ran in."""
    found: Json = {}
    for each in some:
        node = found.setdefault(each.host, {"calls": 0, "processes": [], "host": each.host})
        node["calls"] += each.calls
        node["processes"].append(each.process)
    return found


def find_library(path: str, sha256: str = "") -> str:
    """The workload library, which may have been shipped beside this package; refused if it is not that of the run."""
    if not os.path.exists(path):
        beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.path.basename(path))
        path = beside if os.path.exists(beside) else path
    if sha256:
        with open(path, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != sha256:
            raise RuntimeError(f"{path} on {os.uname().nodename} is not the library of this bench")
    return path


def _opened(run: str) -> _Opened:
    if (found := _OPENED.get(run)) is None:
        raise RuntimeError(f"process {os.getpid()} has not opened the run: call open_run in it before")
    return found
