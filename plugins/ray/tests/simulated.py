"""A transport without Ray: the same actors, in this process, in an order that a seed decides, with deaths on demand.

It keeps what Ray promises and nothing more. An actor runs its calls in the order in which they were made, each once
all its data is there. What an actor raises, or the loss of one, is passed on to whatever was to use the result. With
its process an actor loses its state and every call that it has not finished; it answers again after a few probes.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from typing import Any

from transport import Action, Death, Failure, Then
from workers import Head, Setup, StageActor


class ActorDied(Exception):
    """As Ray would say it."""


class ObjectLost(Exception):
    """As Ray would say it."""


class Result:
    """A result that may not be there yet."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._watchers: list[Then] = []
        self.is_there = False
        self.value: Any = None
        self.failure: Failure | None = None

    def settle(self, value: Any, failure: Failure | None = None) -> None:
        self.is_there, self.value, self.failure = True, value, failure
        for then in self._watchers:
            self._world.tell(lambda then=then: then(value, failure))  # type: ignore[misc]
        self._watchers.clear()

    def watch(self, then: Then) -> None:
        if self.is_there:
            value, failure = self.value, self.failure
            self._world.tell(lambda: then(value, failure))
        else:
            self._watchers.append(then)


class Submitted:
    """A call that an actor has not run yet."""

    def __init__(self, method: str, head: Head | None, data: list[Any], results: list[Result]) -> None:
        self.method, self.head, self.data, self.results = method, head, data, results

    @property
    def can_run(self) -> bool:
        return all(not isinstance(each, Result) or each.is_there for each in self.data)

    @property
    def spoilt(self) -> Failure | None:
        """What became of the data that it was to use."""
        failures = (each.failure for each in self.data if isinstance(each, Result))
        return next((failure for failure in failures if failure), None)

    def fail(self, failure: Failure) -> None:
        for result in self.results:
            result.settle(None, failure)


class SimulatedActor:
    """An actor with a queue of calls."""

    def __init__(self, world: World, setup: Setup) -> None:
        self.world, self.setup = world, setup
        self.id = f"{setup.name}/{setup.instance}"
        self.state = StageActor(setup)
        self.queue: collections.deque[Submitted] = collections.deque()
        self.probes_to_fail = 0
        self.process = world.new_process()
        self.executed = 0

    def run(self, head: Head, data: list[Any]) -> Result:
        return self._submit("run", head, data, 1)[0]

    def run_center(self, head: Head, data: list[Any]) -> tuple[Result, Result]:
        out, seqs = self._submit("run_center", head, data, 2)
        return out, seqs

    def begin(self, generation: int, released: set[int]) -> None:
        self._submit("begin", None, [generation, released], 0)

    def ready(self) -> Result:
        if self.probes_to_fail > 0:
            self.probes_to_fail -= 1
            result = Result(self.world)
            result.settle(None, self.death())
            return result
        return self._submit("ready", None, [], 1)[0]

    def death(self, unavailable: bool = False) -> Failure:
        return Failure(ActorDied(f"the process of {self.id} died"), Death(self.id, unavailable))

    def die(self, probes_to_fail: int = 2) -> None:
        """Its process ends."""
        lost, self.queue = self.queue, collections.deque()
        self.state, self.process = StageActor(self.setup), self.world.new_process()
        self.probes_to_fail = probes_to_fail
        for call in lost:
            call.fail(self.death())

    def step(self) -> None:
        """Runs its next call."""
        call = self.queue[0]
        if failure := call.spoilt:
            return self.queue.popleft().fail(failure)
        if call.method in ("run", "run_center"):
            self.executed += 1
            if self.world.before_call(self):  # It died of it.
                return None
        self.queue.popleft()
        data = [each.value if isinstance(each, Result) else each for each in call.data]
        try:
            values = self._execute(call, data)
        except Exception as error:
            return call.fail(Failure(error))
        for result, value in zip(call.results, values, strict=True):
            result.settle(value)

    def _execute(self, call: Submitted, data: list[Any]) -> tuple[Any, ...]:
        if call.method == "ready":
            return ((self.process, self.world.node_of(self), "here"),)
        if call.method == "begin":
            self.state.begin(*data)
            return ()
        assert call.head is not None
        if call.method == "run_center":
            return self.state.run_center(call.head, *data)
        return (self.state.run(call.head, *data),)

    def _submit(self, method: str, head: Head | None, data: list[Any], results: int) -> list[Result]:
        call = Submitted(method, head, data, [Result(self.world) for _ in range(results)])
        self.queue.append(call)
        return call.results


Fault = Callable[[SimulatedActor], bool]
"""Called before each call that an actor runs. Whether the actor died of it."""


class World:
    """The transport, and all that happens behind it."""

    def __init__(self, seed: int, batches: list[bytes], fault: Fault = lambda actor: False) -> None:
        self._random, self.before_call = random.Random(seed), fault
        self._input = collections.deque([*batches, None])
        self._told: collections.deque[Action] = collections.deque()
        self._timers: collections.deque[Action] = collections.deque()
        self._processes = 0
        self.actors: list[SimulatedActor] = []
        self.clock = 0.0

    # ── What the engine asks ─────────────────────────────────────────────────────────────────────────

    def watch(self, ref: Any, then: Then) -> None:
        ref.watch(then)

    def later(self, action: Action) -> None:
        self._timers.append(action)

    def now(self) -> float:
        return self.clock

    def next_event(self) -> Any:
        """Lets things happen until one of them concerns the engine."""
        while True:
            able = [actor for actor in self.actors if actor.queue and actor.queue[0].can_run]
            choices: list[Callable[[], Any]] = [lambda actor=actor: actor.step() for actor in able]  # type: ignore[misc]
            if self._told:
                choices.append(self._told.popleft)
            if self._input:
                choices.append(self._input.popleft)
            if not choices and self._timers:
                self.clock += 0.05
                return self._timers.popleft()
            assert choices, "the engine waits for something that never comes"
            chosen = self._random.choice(choices)
            event = chosen()
            if chosen == self._input.popleft or event is not None:
                return event

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────

    def deploy(self, setups: dict[str, list[Setup]]) -> dict[str, list[SimulatedActor]]:
        made = {name: [SimulatedActor(self, setup) for setup in some] for name, some in setups.items()}
        self.actors = [actor for some in made.values() for actor in some]
        return made

    def tell(self, action: Action) -> None:
        self._told.append(action)

    def new_process(self) -> int:
        self._processes += 1
        return self._processes

    def node_of(self, actor: SimulatedActor) -> str:
        return f"node-{self.actors.index(actor) % 3}"
