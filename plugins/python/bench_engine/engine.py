"""What the author of a backend writes, and what is known of a run."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from bench_engine.channel import Channel
from bench_engine.graph import Json, Stage
from bench_engine.worker import Setup

Perhaps = Awaitable[None] | None
"""What a method returns that may or may not be ``async``."""


MAKE_ANEW = "give --retries 1 or more: operators that are lost are then made anew, with what they had seen"
"""The remedy for a run that lost some, where the engine has ``restore``."""


class Lost(Exception):
    """The runtime lost a call, with the worker that ran it: nothing is wrong with the call, and it may go again."""


class Run:
    """A run, as the host asked for it."""

    def __init__(self, channel: Channel) -> None:
        config = channel.config
        self.config: Json = config
        """All of it, as it came from the host."""
        self.name: str = config["name"]
        self.display: str = config["display"]
        self.graph: Json = config["graph"]
        self.parallelism: int = config["parallelism"]
        self.batch_size: int = config["batch_size"]
        self.nodes: int = config["nodes"]
        """Machines to use: more than one only where `nodes` in engine.toml says that it is possible."""
        self.scheduler: str = config["scheduler"]
        """As given to ``--scheduler``; ``default`` leaves it to the runtime."""
        self.retries: int = config["retries"]
        self.dir: str = config["dir"]
        """A folder of the run's own, removed after it."""
        self.options: dict[str, str | None] = config["options"]
        """Each option of the engine: as it was given, or its default."""
        opened = config["open"]
        self.setup = Setup(
            run=uuid.uuid4().hex,
            library=config["library"],
            sha256=config["sha256"],
            open=opened if isinstance(opened, str) else json.dumps(opened),
        )
        """For ``worker.open_run`` in each worker process."""
        self.fail: Callable[[BaseException], None] = channel.fatal
        """Ends the run from any thread, when the runtime says that it cannot go on."""
        self._channel = channel
        self._phase = "start-up"

    @property
    def id(self) -> str:
        """Its name, like no other's."""
        return self.setup.run

    def waits_for(self, what: str) -> None:
        """Says what the run waits for now, as a clause that "for 25 s" may follow: "Ray has not answered"."""
        self._channel.phase(self._phase, what)

    def enters(self, phase: str, what: str) -> None:
        """A phase begins. The SDK says so; an engine need not."""
        self._phase = phase
        self.waits_for(what)

    def log(self, message: str, level: str = "info") -> None:
        """A line for the host's log: ``error``, ``warn``, ``info``, ``debug`` or ``trace``."""
        self._channel.log(message, level)


class Engine(ABC):
    """A runtime. Each method may be ``async``; none is called by two threads at once.

    What ``submit`` returns is a ``concurrent.futures.Future``, something to ``await``, or what the runtime has of that
    kind; then ``result`` waits for it.
    """

    calls: ClassVar[int] = 4
    """Calls under way for one instance of a stage: enough to keep workers busy, and no more."""
    waiting: ClassVar[int] = 0
    """Batches, for one unit of parallelism, that may wait beside these: those that do are joined into one call."""
    lost: tuple[type[BaseException], ...] = ()
    """What the runtime raises for a call that it lost; as ``Lost``."""

    def start(self, run: Run) -> Perhaps:
        """Starts the runtime, or joins it."""
        return None

    def deploy(self, stages: Sequence[Stage]) -> Perhaps:
        """Makes every operator in the workers (``worker.open_run``, ``worker.create``): none once the clock runs."""
        return None

    @abstractmethod
    def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
        """Begins a call of ``worker.process`` and returns at once. A call of a stage without state may run anywhere."""

    @abstractmethod
    def finish(self, stage: Stage, instance: int) -> Any:
        """Begins a call of ``worker.finish``: of each instance with state, once, after its last batch."""

    def restore(self, stage: Stage, instance: int) -> Perhaps:
        """Makes an instance with state anew, without what it had seen: a call of it was lost. None is under way when
        this is called, and it is given all of that again. Without this the run ends."""
        raise NotImplementedError

    def result(self, call: Any) -> bytes:
        """Waits for a call that is neither a future nor to be awaited. Runs in a thread for each."""
        raise TypeError(f"submit returned {type(call).__name__}, which is no future: define `result` to wait for it")

    def watch(self) -> Perhaps:
        """Raises when the runtime lost what the stream would wait for in vain. Awaited beside the stream."""
        return None

    def clocks(self) -> Sequence[Callable[[], Any]]:
        """For workers on other machines: one call for each worker process that returns ``clocks.read()`` of there, at
        once or to be awaited. Without, times of operators there are not known."""
        return ()

    def metrics(self) -> Any:
        """More for the record: ``{"nodes": …}``, where operators ran; under the backend's name, whatever else."""
        return {}

    def close(self) -> Perhaps:
        """Ends what ``start`` began. Not called in a run that failed: its processes are killed."""
        return None
