"""A runtime without a runtime: its calls run in this process, in an order that a seed decides, and fail on demand."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NoReturn

from bench_engine import Channel, Engine, Json, Run, Stage, worker


class Host(Channel):
    """The host's side of a run: its events, and what it was told."""

    def __init__(self, config: Json, batches: Sequence[bytes]) -> None:
        self.config = config
        self._begun = {"start-up": 0.0}
        self._batches = batches
        self.results: list[bytes] = []
        self.phases: list[str] = []
        self.facts: Json = {}
        self.lines: list[str] = []
        self.told: list[Json] = []

    def events(self) -> Iterator[bytes]:
        self.phase("steady")
        yield from self._batches
        self.phase("drain")

    def emit(self, batch: bytes) -> None:
        self.results.append(batch)

    def phase(self, name: str, detail: str = "") -> None:
        if name not in self.phases:
            self.phases.append(name)

    def log(self, message: str, level: str = "info") -> None:
        self.lines.append(message)

    def metrics(self, facts: Json) -> None:
        self.facts.update(facts)

    def clocks(self, told: Json | None) -> None:
        self.told += [told] if told else []

    def fatal(self, error: BaseException) -> NoReturn:
        raise SystemExit  # the thread that reads events, after its run has ended


class Gone(Exception):
    """What this runtime raises for a call that it lost."""


class Ticket:
    """A future as only this runtime knows it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.value: Any = None


Fault = Callable[[Stage, int], BaseException | None]
"""What goes wrong with a call, given how many of that stage were begun before, if anything does."""


class Simulated(Engine):
    """The runtime."""

    calls: ClassVar[int] = 2
    lost = (Gone,)

    def __init__(self, seed: int = 0, fault: Fault = lambda stage, number: None, kind: str = "await") -> None:
        self._random, self._fault, self._kind = random.Random(seed), fault, kind
        self._begun: dict[str, int] = {}
        self._waiting: list[Callable[[], None]] = []
        self.did: list[str] = []
        self.most = 0
        self.sizes: list[tuple[str, int]] = []

    async def start(self, run: Run) -> None:
        self.run, self._loop = run, asyncio.get_running_loop()
        self.did.append("start")

    def deploy(self, stages: Sequence[Stage]) -> None:
        worker.open_run(self.run.setup)
        for stage in stages:
            for instance in range(stage.instances if stage.stateful else 1):
                worker.create(stage, instance)
        self.stages = list(stages)
        self.did.append("deploy")

    def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
        if batch:
            self.sizes.append((stage.name, len(batch)))
        return self._begin(stage, lambda: worker.process(stage, instance, batch), counts=bool(batch))

    def finish(self, stage: Stage, instance: int) -> Any:
        self.did.append(f"finish {stage.name}/{instance}")
        return self._begin(stage, lambda: worker.finish(stage, instance), counts=False)

    def result(self, call: Ticket) -> bytes:
        if self._kind != "own":
            return super().result(call)
        call.ended.wait()
        if isinstance(call.value, BaseException):
            raise call.value
        output: bytes = call.value
        return output

    async def metrics(self) -> Json:
        return {"nodes": worker.nodes([worker.used(self.run.id)]), "simulated": {"seed": 1}}

    def close(self) -> None:
        worker.close_run(self.run.id)
        self.did.append("close")

    def _begin(self, stage: Stage, do: Callable[[], bytes], counts: bool) -> Any:
        number = self._begun.get(stage.name, 0)
        self._begun[stage.name] = number + counts
        error = self._fault(stage, number) if counts else None
        future, settle = self._future()

        def end() -> None:
            if error is not None:
                return settle(None, error)
            try:
                settle(do(), None)
            except BaseException as cause:
                settle(None, cause)

        self._waiting.append(end)
        self.most = max(self.most, len(self._waiting))
        self._loop.call_soon(self._step)
        return future

    def _step(self) -> None:
        """Ends one of the calls under way."""
        self._waiting.pop(self._random.randrange(len(self._waiting)))()

    def _future(self) -> tuple[Any, Callable[[Any, BaseException | None], None]]:
        if self._kind == "own":
            ticket = Ticket()

            def settle(value: Any, error: BaseException | None) -> None:
                ticket.value = value if error is None else error
                ticket.ended.set()

            return ticket, settle
        future: Any = concurrent.futures.Future() if self._kind == "thread" else self._loop.create_future()
        return future, lambda value, error: future.set_result(value) if error is None else future.set_exception(error)
