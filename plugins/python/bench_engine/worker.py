"""What runs in a runtime's worker processes: the operators of a run, opened once in each process.

Everything here takes and returns what can be pickled. Any thread may call it.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from bench_engine.clocks import Reading, read
from bench_engine.graph import Json, Stage
from bench_engine.workload import Operator, Workload, WorkloadError, prepare

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
    alive: bool = True
    """Whether it is there to say so."""


class _Instance:
    """An operator for each call that may be under way, and the right to use one."""

    def __init__(self, operators: Iterable[Operator]) -> None:
        self._operators = list(operators)
        self._free: queue.SimpleQueue[Operator] = queue.SimpleQueue()
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
        self._workload = open_workload(setup.library, setup.sha256, setup.open)
        self._lock = threading.Lock()
        self._instances: dict[tuple[int, int], _Instance] = {}
        self._idle: dict[int, list[Operator]] = {}
        self.calls = 0

    def make(self, stage: Stage, instance: int) -> _Instance:
        operator = self._workload.operator
        return _Instance(operator(stage.nodes, instance, stage.instances) for _ in range(stage.concurrency))

    def create(self, stage: Stage, instance: int) -> None:
        if stage.stateful:
            self._instances[stage.number, instance] = self.make(stage, instance)
        else:
            self._give_back(stage, self._workload.operator(stage.nodes))

    def count(self, batch: bytes) -> None:
        with self._lock:
            self.calls += bool(batch)

    def process(self, stage: Stage, instance: int, batch: bytes) -> bytes:
        self.count(batch)
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


def open_workload(library: str, sha256: str, open_spec: str) -> Workload:
    """Opens the workload with indexes of this machine. What is missing is built by the first process to come."""
    path, spec = find_library(library, sha256), json.loads(open_spec)
    spec["cache_dir"] = _cache_folder(spec["cache_dir"])
    try:
        return Workload(path, spec)
    except WorkloadError:
        try:
            prepare(path, spec)
        except WorkloadError as cause:
            raise WorkloadError(f"the indexes of {os.uname().nodename} cannot be prepared: {cause}") from None
        return Workload(path, spec)


def _cache_folder(there: str) -> str:
    """Where indexes are: in the folder that the run names, if it is on this machine too, or else in the user's own."""
    if os.path.isdir(there):
        return there
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("BENCH_CACHE_DIR") or os.path.join(base, "bench")


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
    """An instance of a stage with state as an object: an actor, where the runtime has those.

    One that is made anew in the same process is apart from its predecessor, which may get a call taken for lost.
    """

    def __init__(self, setup: Setup, stage: Stage, instance: int) -> None:
        open_run(setup)
        self._opened = _opened(stage.run)
        self._instance = self._opened.make(stage, instance)

    def process(self, batch: bytes) -> bytes:
        """See :func:`process`."""
        self._opened.count(batch)
        return self._instance.process(batch)

    def finish(self) -> bytes:
        """See :func:`finish`."""
        return self._instance.finish()


class Clock:
    """This process's clock as an object: an actor, where the runtime has those."""

    def read(self) -> Reading:
        """See ``clocks.read``."""
        return read()


def used(run: str) -> Used:
    """What this process did in a run."""
    return Used(os.uname().nodename, os.getpid(), _opened(run).calls)


def close_run(run: str) -> None:
    """Forgets a run, where the process outlives it."""
    _OPENED.pop(run, None)


def nodes(some: Iterable[Used]) -> Json:
    """Each machine, as the record wants it: the calls that it took and the processes that they ran in, and whether it
    was gone at the end."""
    some, found = list(some), dict[str, Any]()
    for each in some:
        node = found.setdefault(each.host, {"calls": 0, "processes": [], "host": each.host})
        node["calls"] += each.calls
        node["processes"].append(each.process)
    for host in found.keys() - {each.host for each in some if each.alive}:
        found[host]["alive"] = False
    return found


def find_library(path: str, sha256: str = "", *folders: str) -> str:
    """The workload library: where it was, in one of ``folders``, or shipped beside this package."""
    package = os.path.dirname(os.path.abspath(__file__))
    # Beside an archive, where this package was imported from one.
    beside = [*folders, *_FOLDERS, os.path.dirname(package), os.path.dirname(os.path.dirname(package))]
    places = [path, *(os.path.join(folder, os.path.basename(path)) for folder in beside)]
    found = [place for place in places if os.path.isfile(place)]
    right = [place for place in found if not sha256 or _sha256(place) == sha256]
    if right:
        return right[0]
    host = os.uname().nodename
    if found:
        raise RuntimeError(f"{found[0]} on {host} is not the library of this bench")
    raise RuntimeError(f"{host} has no {path}, and it was not shipped there")


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


_FOLDERS: list[str] = []
"""Where else the library may be in this process."""


def look_in(folder: str) -> None:
    """A folder that a runtime puts what it ships into."""
    _FOLDERS.append(folder)


def _opened(run: str) -> _Opened:
    if (found := _OPENED.get(run)) is None:
        raise RuntimeError(f"process {os.getpid()} has not opened the run: call open_run in it before")
    return found
