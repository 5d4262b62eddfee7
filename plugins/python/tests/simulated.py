"""A runtime without a runtime: its calls run in this process, in an order that a seed decides, and fail on demand."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NoReturn

from bench_engine import Channel, Engine, Json, Lost, Run, Stage, worker


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


Settle = Callable[[Any, BaseException | None], None]
"""Gives a call its value, or the reason why there is none."""


class Fixed(Engine):
    """The runtime, without anything that would bring back an instance that it lost."""

    calls: ClassVar[int] = 2
    lost = (Gone,)

    def __init__(self, seed: int = 0, fault: Fault = lambda stage, number: None, kind: str = "await") -> None:
        self._random, self._fault, self._kind = random.Random(seed), fault, kind
        self._begun: dict[str, int] = {}
        self._waiting: list[Callable[[], None]] = []
        self._dead: set[tuple[Stage, int]] = set()
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
        return self._begin(stage, instance, lambda: worker.process(stage, instance, batch), counts=bool(batch))

    def finish(self, stage: Stage, instance: int) -> Any:
        self.did.append(f"finish {stage.name}/{instance}")
        return self._begin(stage, instance, lambda: worker.finish(stage, instance), counts=False)

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

    def _begin(self, stage: Stage, instance: int, do: Callable[[], bytes], counts: bool) -> Any:
        number = self._begun.get(stage.name, 0)
        self._begun[stage.name] = number + counts
        error = self._fault(stage, number) if counts else None
        future, settle = self._future()

        def runs() -> None:
            if (stage, instance) not in self._dead and stage.stateful and isinstance(error, (Gone, Lost)):
                self._dead.add((stage, instance))
                return self._later(lambda: settle(None, error))
            try:
                output, failure = (None, error) if error is not None else (do(), None)
            except BaseException as cause:
                output, failure = None, cause
            self._later(lambda: ends(output, failure))

        def ends(output: bytes | None, failure: BaseException | None) -> None:
            """It may have run, and its worker may have died since."""
            if (stage, instance) in self._dead:
                output, failure = None, Gone("its worker is dead")
            if not (counts and self._holds_back(stage, instance, output, settle)):
                settle(output, failure)

        self._later(runs)
        self.most = max(self.most, len(self._waiting))
        return future

    def _holds_back(self, stage: Stage, instance: int, output: bytes | None, settle: Settle) -> bool:
        """Whether an answer is not given now."""
        return False

    def _later(self, step: Callable[[], None]) -> None:
        self._waiting.append(step)
        self._loop.call_soon(self._step)

    def _step(self) -> None:
        """One of the calls under way runs, or ends."""
        self._waiting.pop(self._random.randrange(len(self._waiting)))()

    def _future(self) -> tuple[Any, Settle]:
        if self._kind == "own":
            ticket = Ticket()

            def settle(value: Any, error: BaseException | None) -> None:
                ticket.value = value if error is None else error
                ticket.ended.set()

            return ticket, settle
        future: Any = concurrent.futures.Future() if self._kind == "thread" else self._loop.create_future()
        return future, lambda value, error: future.set_result(value) if error is None else future.set_exception(error)


class Simulated(Fixed):
    """The runtime. An instance that is lost loses every call of it, those that it had run as well."""

    restores_in_vain = 0
    """How often the next instance is lost before it is there."""

    async def restore(self, stage: Stage, instance: int) -> None:
        await asyncio.sleep(0)
        if self.restores_in_vain:
            self.restores_in_vain -= 1
            raise Gone("its new worker died too")
        self.did.append(f"restore {stage.name}/{instance}")
        self._dead.discard((stage, instance))
        worker.create(stage, instance)
