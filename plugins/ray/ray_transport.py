"""The transport on Ray."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import ray

import compat
import workers
from bench_engine import Json, Refusal
from plan import Plan, Stage
from transport import Action, Actor, Ref, Then
from workers import Head

LATER_SECONDS = 0.05
CLOCK_SECONDS = 10.0
"""How long to wait for the answer of an actor that is up."""


class RayTransport:
    """Completions arrive on Ray's threads, which only pass them on."""

    def __init__(self, post: Callable[[Action], None]) -> None:
        self._post = post

    def watch(self, ref: Ref, then: Then) -> None:
        """See `Transport`."""

        def done(future: Any) -> None:
            error = future.exception()
            value = None if error else future.result()
            self._post(lambda: then(value, None if error is None else compat.failure_of(error)))

        ref.future().add_done_callback(done)

    def later(self, action: Action) -> None:
        """See `Transport`."""
        timer = threading.Timer(LATER_SECONDS, lambda: self._post(action))
        timer.daemon = True
        timer.start()

    def now(self) -> float:
        """See `Transport`."""
        return time.monotonic()


class RayActor:
    """An actor, by its handle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.id = compat.actor_id(handle)

    def run(self, head: Head, data: list[Ref]) -> Ref:
        """See `Actor`."""
        return self._handle.run.remote(head, *data)

    def run_center(self, head: Head, data: list[Ref]) -> tuple[Ref, Ref]:
        """See `Actor`."""
        out, seqs = self._handle.run_center.options(num_returns=2).remote(head, *data)
        return out, seqs

    def begin(self, generation: int, released: set[int]) -> None:
        """See `Actor`."""
        self._handle.begin.remote(generation, released)

    def ready(self) -> Ref:
        """See `Actor`."""
        return self._handle.ready.remote()

    def clock(self) -> Any:
        """Waits for what its process's clock shows."""
        return ray.get(self._handle.clock.remote(), timeout=CLOCK_SECONDS)


def deploy(plan: Plan, config: Json, nodes: list[str]) -> dict[str, list[Actor]]:
    """The actors, asked for but not necessarily up: at home, or else on these nodes in turn; anywhere without any."""
    setups = workers.setups(plan, config)
    count = sum(map(len, setups.values()))
    if count < len(nodes):
        raise Refusal(
            f"{len(nodes)} nodes are more than there are operators to place: with --parallelism {plan.parallelism} "
            f"they run in {count} actors. Leave --nodes at {count} at most, or raise --parallelism",
            "unsupported",
        )
    kind = ray.remote(workers.StageActor)
    alike: Json = {"num_cpus": 0.01, "max_restarts": -1, "max_task_retries": 0}
    homes = [compat.at_home_on(node) for node in nodes] or [{}]
    in_turn = itertools.cycle(homes)

    def actor(stage: Stage, setup: workers.Setup) -> Actor:
        several: Json = {"max_concurrency": setup.concurrency} if setup.concurrency > 1 else {}
        home = next(in_turn) if stage.affinity is None else homes[stage.affinity % len(homes)]
        return RayActor(kind.options(**alike, **several, **home).remote(setup))

    return {stage.name: [actor(stage, setup) for setup in setups[stage.name]] for stage in plan.stages}


def start(actors: list[Actor]) -> list[tuple[int, str, str]]:
    """Waits until they are up. What each says of its process."""
    ready: list[tuple[int, str, str]] = ray.get([actor.ready() for actor in actors])
    return ready


def clocks(actors: list[Actor]) -> list[Callable[[], Any]]:
    """A call for each that waits for what the clock of its process shows."""
    return [actor.clock for actor in actors if isinstance(actor, RayActor)]


def warm_up(actors: list[Actor]) -> None:
    """Waits for the first calls of each."""
    ray.get([actor.run(Head(()), []) for actor in actors for _ in range(3)])
