"""How the engine reaches its actors: what it asks for, and what it hears when a call fails.

The engine is written against these protocols alone. `ray_transport` is Ray behind them; the tests have a fake that
runs the same actors in one process and lets any of them die at any moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from workers import Head

Ref = Any
"""A result that may not be there yet. It can be given to another call without being waited for."""
Action = Callable[[], None]


class Death(NamedTuple):
    """A call was lost with its actor's process."""

    actor: str | None
    """Whose, where that is known."""
    unavailable: bool
    """Perhaps it lives and cannot be reached."""


class Failure(NamedTuple):
    """Why a call has no result."""

    cause: BaseException
    """What the actor raised, or what the transport did."""
    death: Death | None = None
    object_lost: bool = False
    """Data that the call needed is gone with a node."""

    def __str__(self) -> str:
        lines = str(self.cause).strip().splitlines()
        return f"{type(self.cause).__name__}: {lines[-1] if lines else ''}"


Then = Callable[[Any, Failure | None], None]
"""Takes a value, or the reason why there is none."""


class Actor(Protocol):
    """One actor. It runs its calls in the order in which they were made, and starts anew when its process dies."""

    @property
    def id(self) -> str:
        """As `Death` names it."""

    def run(self, head: Head, data: list[Ref]) -> Ref:
        """See `workers.StageActor.run`."""

    def run_center(self, head: Head, data: list[Ref]) -> tuple[Ref, Ref]:
        """The two results of `workers.StageActor.run_center`, apart."""

    def begin(self, generation: int, released: set[int]) -> None:
        """See `workers.StageActor.begin`."""

    def ready(self) -> Ref:
        """See `workers.StageActor.ready`."""


class Transport(Protocol):
    """Time and completions. Whatever it is given to do later runs in the engine's own thread."""

    def watch(self, ref: Ref, then: Then) -> None:
        """Calls `then` once the result is there, or is known never to come."""

    def later(self, action: Action) -> None:
        """Calls `action` in a short while."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""


def watch_all(transport: Transport, refs: list[Ref], then: Then) -> None:
    """Calls `then` once every result is there, with all of them in order, or with the first failure."""
    values: dict[int, Any] = {}
    failures: list[Failure] = []

    def one(index: int, value: Any, failure: Failure | None) -> None:
        values[index] = value
        if failure is not None:
            failures.append(failure)
        if len(values) == len(refs):
            then([values[i] for i in range(len(refs))], failures[0] if failures else None)

    def at(index: int) -> Then:
        return lambda value, failure: one(index, value, failure)

    if not refs:
        transport.later(lambda: then([], None))
    for index, ref in enumerate(refs):
        transport.watch(ref, at(index))
