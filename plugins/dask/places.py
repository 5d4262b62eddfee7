"""Workers in use, and the instances with state that live on them. Knows Dask only by what it is given.

A worker is up while Dask has the actor that was put there for its clock: an actor is lost with its worker. A call to
one that is gone may never return, so every call that depends on a worker is ended with it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import compat
from bench_engine import Lost, Stage
from bench_engine.clocks import Reading
from bench_engine.worker import Used


class Calls:
    """Calls under way that may all be lost at once, with something that has a name."""

    def __init__(self, name: str) -> None:
        self._name, self._reason = name, ""
        self._under_way: set[asyncio.Task[Any]] = set()

    def follow(self, begin: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        """A call, from now on. What is lost raises ``Lost``."""
        task = asyncio.ensure_future(self._outcome(begin))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def lose(self, reason: str) -> None:
        """Ends them all; those that come later have no chance either."""
        self._reason = reason
        for task in self._under_way:
            task.cancel()

    async def _outcome(self, begin: Callable[[], Awaitable[Any]]) -> Any:
        try:
            if self._reason:
                raise Lost(self._reason)
            return await begin()
        except asyncio.CancelledError:
            if self._reason:
                raise Lost(self._reason) from None
            raise
        except (OSError, RuntimeError) as cause:
            if isinstance(cause, RuntimeError) and not compat.says_that_its_worker_is_gone(cause):
                raise
            raise Lost(self._reason or f"{self._name} cannot be reached: {cause}") from cause


@dataclass(eq=False)
class Place:
    """A worker in use."""

    address: str
    clock: Any
    """An actor."""
    sign: Any
    """Of life: the future of that actor."""
    reading: Reading
    """What its process said of itself."""
    calls: Calls = field(init=False)
    taken: int = 0
    """Calls of instances that live here."""
    instances: int = 0
    is_lost: bool = False

    def __post_init__(self) -> None:
        self.calls = Calls(str(self))

    def __str__(self) -> str:
        return f"the worker at {self.address} (process {self.reading.process} of {self.reading.host})"

    @property
    def is_up(self) -> bool:
        """Whether it is there, as far as is known."""
        return bool(self.sign.status == "finished") and not self.is_lost

    def follow(self, begin: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        """A call of an instance that lives here."""
        self.taken += 1
        return self.calls.follow(begin)

    def lose(self) -> None:
        """It is gone."""
        self.is_lost = True
        self.calls.lose(f"{self} died")


async def opened(address: str, sign: Any, seconds: float) -> Place | None:
    """A worker that came, unless its first task fails, whatever with, because it is gone already; or it is busy."""
    try:
        clock = await asyncio.wait_for(sign, seconds)
        reading = Reading(*await asyncio.wait_for(clock.read(), seconds))
    except Exception:
        traceback.print_exc()
        return None
    return Place(address, clock, sign, reading)


class Machines:
    """Machines in use, each with a number that it keeps; one that comes in the place of another gets that one's."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._workers: dict[str, list[str]] = {}
        self._bound: dict[int, tuple[list[str], Calls]] = {}

    def use(self, machines: Mapping[str, str], workers: Sequence[str]) -> None:
        """These workers, of which each is on the machine that is named."""
        self._workers = {}
        for address in workers:
            self._workers.setdefault(machines[address], []).append(address)
        come = [name for name in self._workers if name not in self._names]
        stay = [name if name in self._workers or not come else come.pop(0) for name in self._names]
        self._names = stay + come

    @property
    def numbers(self) -> dict[str, int]:
        """That of each worker's machine."""
        every = enumerate(self._names)
        return {address: number for number, name in every for address in self._workers.get(name, ())}

    def bound(self, number: int, up: Collection[str]) -> tuple[list[str], Calls] | None:
        """The workers that may run what is at home on a machine, and its calls: those there, or, where none of them is
        up, those of the next machine that has some, from then on. None where nobody is up."""
        if number not in self._bound:
            names = self._names[number:] + self._names[:number]
            some = ([address for address in self._workers.get(name, ()) if address in up] for name in names)
            if not (workers := next(filter(None, some), [])):
                return None
            self._bound[number] = workers, Calls(f"the workers of {names[0]}")
        return self._bound[number]

    def lose(self, up: Collection[str], reason: str) -> None:
        """Ends calls that no worker is left for: Dask would keep them until one of those is back."""
        for number, (workers, calls) in list(self._bound.items()):
            if not set(workers) & set(up):
                del self._bound[number]
                calls.lose(reason)


class Home(NamedTuple):
    """Where an instance lives."""

    place: Place
    actor: Any
    """None where it is kept by the worker itself."""
    future: Any
    """Of the actor, which Dask forgets without it."""


class Places:
    """All workers in use, in an order that is the same in every run."""

    def __init__(self) -> None:
        self._all: list[Place] = []
        self._homes: dict[tuple[Stage, int], Home] = {}

    def add(self, place: Place) -> None:
        """One more."""
        self._all.append(place)

    @property
    def up(self) -> list[Place]:
        """Those that are there."""
        return [place for place in self._all if place.is_up]

    @property
    def addresses(self) -> list[str]:
        """Of those that are there."""
        return [place.address for place in self.up]

    @property
    def gone(self) -> list[Place]:
        """Those that are not, and of which nobody has been told."""
        return [place for place in self._all if not place.is_up and not place.is_lost]

    @property
    def lost(self) -> int:
        """How many are gone for good."""
        return sum(place.is_lost for place in self._all)

    def take(self) -> Place | None:
        """For one more instance: where there are fewest."""
        place = min(self.up, key=lambda place: place.instances, default=None)
        if place is not None:
            place.instances += 1
        return place

    def settle(self, stage: Stage, instance: int, home: Home) -> None:
        """An instance lives there from now on."""
        self._homes[stage, instance] = home

    def home(self, stage: Stage, instance: int) -> Home:
        """Where an instance lives."""
        return self._homes[stage, instance]

    def used(self, by_the_living: Iterable[Used]) -> list[Used]:
        """What each did; of those that are gone, the calls of the instances that lived there."""
        dead = (place for place in self._all if place.is_lost)
        return [
            *by_the_living,
            *(Used(p.reading.host, p.reading.process, p.taken, alive=False) for p in dead if p.taken),
        ]


def chosen(machines: dict[str, str], count: int, before: Collection[str] = ()) -> list[str]:
    """Of workers' addresses, with the machine of each, those on so many machines; those before come first."""
    names = sorted(set(machines.values()), key=lambda name: (name not in before, name))[:count]
    return sorted(
        (address for address, machine in machines.items() if machine in names), key=lambda a: (machines[a], a)
    )
