"""Which worker an instance lives on, and what becomes of its calls when that is gone. No Dask needed.

Run by plugins/python/tests/engines.rs.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Awaitable, Callable
from typing import Any

from bench_engine import Lost, Stage, WorkloadError, clocks, worker
from places import Calls, Home, Machines, Place, Places, chosen, opened


class Sign:
    """Of life, as a future of Dask's is one."""

    status = "finished"


def place(name: str, host: str = "alpha", process: int = 7) -> Place:
    reading = clocks.read()._replace(host=host, process=process)
    return Place(f"tcp://{name}", None, Sign(), reading)


def stage(name: str) -> Stage:
    return Stage("a run", 0, (0,), name, 2, stateful=True, blocking=False, answered=True)


async def never() -> Any:
    await asyncio.Event().wait()


def failing(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        raise error

    return call


class CallsTest(unittest.IsolatedAsyncioTestCase):
    async def test_what_is_under_way_at_a_worker_that_dies_is_lost_and_what_comes_later_too(self) -> None:
        home = place("there:1")
        before = [home.follow(never) for _ in range(2)]
        await asyncio.sleep(0)
        home.lose()
        for call in [*before, home.follow(never)]:
            with self.assertRaisesRegex(Lost, r"the worker at tcp://there:1 \(process 7 of alpha\) died"):
                await call
        self.assertEqual(home.taken, 3)

    async def test_a_worker_that_cannot_be_reached_loses_calls_and_an_operator_that_fails_does_not(self) -> None:
        gone = RuntimeError("Worker holding Actor was lost.  Status: error")
        for lost in (OSError("Unable to contact Actor's worker"), gone):
            with self.assertRaisesRegex(Lost, f"there cannot be reached: {lost}"):
                await Calls("there").follow(failing(lost))
        for failed in (WorkloadError("not a batch"), ValueError("on purpose")):
            with self.assertRaisesRegex(type(failed), str(failed)):
                await Calls("there").follow(failing(failed))

    async def test_a_call_that_is_taken_back_is_not_lost(self) -> None:
        call = Calls("there").follow(never)
        await asyncio.sleep(0)
        call.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await call

    async def test_a_worker_that_is_gone_before_its_first_task_is_not_used_whatever_it_is_gone_with(self) -> None:
        class Killed(Exception):
            """As Dask says it."""

        async def clock() -> Any:
            return self

        self.read = never
        for sign in (failing(Killed("three times"))(), failing(RuntimeError("lost"))(), never(), clock()):
            self.assertIsNone(await opened("tcp://there:1", sign, 0.01))

        async def read() -> Any:
            return clocks.read()

        self.read = read
        there = await opened("tcp://there:1", clock(), 60)
        assert there is not None
        self.assertEqual(there.reading.process, clocks.read().process)


class PlacesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.places, self.one, self.two = Places(), place("one:1", process=1), place("two:1", "beta", 2)
        for each in (self.one, self.two):
            self.places.add(each)

    def test_instances_are_spread_and_none_is_put_on_a_worker_that_is_gone(self) -> None:
        self.assertEqual([self.places.take() for _ in range(4)], [self.one, self.two, self.one, self.two])
        self.one.sign.status = "error"
        self.assertEqual([self.places.take() for _ in range(2)], [self.two, self.two])
        self.assertEqual((self.places.addresses, self.places.gone), (["tcp://two:1"], [self.one]))
        self.two.sign.status = "error"
        self.assertIsNone(self.places.take())

    def test_an_instance_lives_where_it_was_made_last(self) -> None:
        merge = stage("merge")
        for home in (Home(self.one, "an actor", None), Home(self.two, None, None)):
            self.places.settle(merge, 1, home)
            self.assertEqual(self.places.home(merge, 1), home)

    def test_of_a_worker_that_is_gone_what_is_known_is_told(self) -> None:
        self.one.taken, self.one.is_lost = 40, True
        nodes = worker.nodes(self.places.used([worker.Used("beta", 2, 5)]))
        self.assertEqual(nodes["alpha"], {"calls": 40, "processes": [1], "host": "alpha", "alive": False})
        self.assertEqual(nodes["beta"], {"calls": 5, "processes": [2], "host": "beta"})
        self.assertEqual(self.places.lost, 1)
        nodes = worker.nodes(self.places.used([worker.Used("alpha", 3, 5)]))
        self.assertEqual(nodes["alpha"], {"calls": 45, "processes": [3, 1], "host": "alpha"})

    def test_machines_are_chosen_by_name_and_those_in_use_come_first(self) -> None:
        machines = {"tcp://c:1": "c", "tcp://a:2": "a", "tcp://b:1": "b", "tcp://a:1": "a"}
        self.assertEqual(chosen(machines, 2), ["tcp://a:1", "tcp://a:2", "tcp://b:1"])
        self.assertEqual(chosen(machines, 2, ["c"]), ["tcp://a:1", "tcp://a:2", "tcp://c:1"])
        self.assertEqual(chosen(machines, 9), ["tcp://a:1", "tcp://a:2", "tcp://b:1", "tcp://c:1"])
        self.assertEqual(chosen({}, 1), [])


class MachinesTest(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.machines = Machines()
        self.on = {"tcp://a:1": "a", "tcp://a:2": "a", "tcp://b:1": "b", "tcp://c:1": "c"}
        self.machines.use(self.on, [*self.on])

    def test_each_keeps_its_number_and_one_that_comes_has_that_of_one_that_is_gone(self) -> None:
        numbers = {"tcp://a:1": 0, "tcp://a:2": 0, "tcp://b:1": 1, "tcp://c:1": 2}
        self.assertEqual(self.machines.numbers, numbers)
        del self.on["tcp://b:1"], numbers["tcp://b:1"]
        self.machines.use(self.on, [*self.on])
        self.assertEqual(self.machines.numbers, numbers)
        self.on["tcp://d:1"] = "d"
        self.machines.use(self.on, [*self.on])
        self.assertEqual(self.machines.numbers, {**numbers, "tcp://d:1": 1})

    async def test_calls_go_where_they_are_at_home_and_on_the_next_machine_once_nobody_is_left_there(self) -> None:
        up = [*self.on]
        home, second = self.machines.bound(0, up), self.machines.bound(1, up)
        assert home is not None and second is not None
        self.assertEqual((home[0], second[0]), (["tcp://a:1", "tcp://a:2"], ["tcp://b:1"]))
        stays, goes = home[1].follow(never), second[1].follow(never)
        await asyncio.sleep(0)
        self.machines.lose(up := ["tcp://a:2", "tcp://c:1"], "b died")
        with self.assertRaisesRegex(Lost, "b died"):
            await goes
        self.assertEqual(self.machines.bound(0, up), home)
        self.assertFalse(stays.done())
        stays.cancel()
        third = self.machines.bound(1, up)
        assert third is not None
        self.assertEqual(third[0], ["tcp://c:1"])

    def test_where_nobody_is_up_nothing_is_bound(self) -> None:
        self.assertIsNone(self.machines.bound(1, []))


if __name__ == "__main__":
    unittest.main()
