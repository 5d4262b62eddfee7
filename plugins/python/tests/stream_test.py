"""The stream on a simulated runtime: whatever it does, every query is answered once, and rightly.

Run by tests/worker.rs with: library, open spec, a file of batches of events, each behind its length.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import threading
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from bench_engine import DATA, FAILED, MAKE_ANEW, Json, Lost, Refusal, Stage, frames, inputs
from bench_engine.driver import conduct
from bench_engine.graph import cut
from reference import BATCHES, LIBRARY, OPEN, RIGHT, WORKLOAD, Answers, records
from simulated import Fault, Fixed, Gone, Host, Settle, Simulated


def config(**other: Any) -> Json:
    return {
        "name": "simulated",
        "display": "Simulated",
        "graph": WORKLOAD.graph,
        "parallelism": 2,
        "batch_size": 8,
        "nodes": 1,
        "scheduler": "default",
        "retries": 0,
        "dir": tempfile.gettempdir(),
        "extra": {},
        "options": {},
        "library": LIBRARY,
        "sha256": "",
        "open": json.loads(OPEN),
        **other,
    }


class Outcome:
    """A run on the simulated runtime."""

    def __init__(self, engine: Fixed, *, events: list[bytes] = BATCHES, **other: Any) -> None:
        self.engine, self.host = engine, Host(config(**other), events)
        asyncio.run(conduct(engine, self.host))
        self.answers: Answers = {}
        for batch in self.host.results:
            for number, kind, body in records(batch):
                assert number not in self.answers, f"query {number} was answered twice"
                self.answers[number] = kind, body

    @property
    def failed(self) -> set[int]:
        return {number for number, (kind, _) in self.answers.items() if kind == FAILED}

    @property
    def lost_calls(self) -> Json:
        lost: Json = self.host.facts["simulated"]["lost_calls"]
        return lost


def stages() -> list[Stage]:
    return cut(WORKLOAD.graph, 2)


def named(name: str) -> Stage:
    """The stage that has an operator of this name."""
    return next(stage for stage in stages() if name in stage.name.split("+"))


def fails(name: str, error: BaseException, *numbers: int) -> Fault:
    """Calls of a stage, by number, that end with an error."""
    return lambda stage, number: error if stage.name == named(name).name and number in numbers else None


def at_random(seed: int, names: list[str], share: float) -> Fault:
    """Calls of these stages, drawn, that are lost with their worker."""
    drawn = random.Random(seed)
    return lambda stage, number: Gone("its worker died") if stage.name in names and drawn.random() < share else None


class AnswersTest(unittest.TestCase):
    def test_whatever_order_calls_end_in_the_answers_are_those_of_one_thread(self) -> None:
        for seed in range(8):
            for parallelism in (1, 2, 3):
                outcome = Outcome(Simulated(seed), parallelism=parallelism)
                self.assertEqual(outcome.answers, RIGHT, f"seed {seed}, parallelism {parallelism}")

    def test_futures_of_every_kind_are_waited_for(self) -> None:
        for kind in ("await", "thread", "own"):
            self.assertEqual(Outcome(Simulated(3, kind=kind)).answers, RIGHT, kind)

    def test_a_run_without_events_ends(self) -> None:
        outcome = Outcome(Simulated(), events=[])
        self.assertEqual((outcome.answers, outcome.host.facts["events"]), ({}, 0))

    def test_a_stream_that_the_host_ends_early_is_answered_as_far_as_it_went(self) -> None:
        outcome = Outcome(Simulated(5), events=BATCHES[: len(BATCHES) // 2])
        self.assertTrue(outcome.answers)
        self.assertEqual(outcome.host.facts["results"], outcome.host.facts["events"])
        self.assertEqual(outcome.failed, set())

    def test_phases_come_in_their_order_and_the_engine_is_called_in_its(self) -> None:
        outcome = Outcome(Simulated())
        self.assertEqual(outcome.host.phases, ["start-up", "deploy", "warm-up", "steady", "drain", "teardown"])
        did = outcome.engine.did
        self.assertEqual((did[:2], did[-1]), (["start", "deploy"], "close"))

    def test_only_stages_with_state_are_flushed_each_instance_once_from_the_top_down(self) -> None:
        flushed = [what for what in Outcome(Simulated(1)).engine.did if what.startswith("finish")]
        wanted = [f"finish {s.name}/{i}" for s in stages() if s.stateful for i in range(s.instances)]
        self.assertEqual(flushed, wanted)

    def test_the_record_says_what_went_in_what_came_out_and_in_how_many_calls(self) -> None:
        facts = Outcome(Simulated()).host.facts
        self.assertEqual((facts["events"], facts["results"], facts["failed"]), (len(RIGHT), len(RIGHT), 0))
        self.assertEqual(facts["simulated"]["seed"], 1)
        self.assertEqual(facts["simulated"]["lost_calls"], {"lost": 0, "retried": 0, "given_up": 0, "restored": 0})
        calls, given = facts["simulated"]["calls"], facts["simulated"]["batches"]
        self.assertEqual(set(calls), {stage.name for stage in stages()})
        self.assertTrue(all(0 < calls[name] <= given[name] for name in calls))
        [node] = facts["nodes"].values()
        self.assertEqual(node["calls"], sum(calls.values()) - sum(s.instances for s in stages() if s.stateful))


class BoundTest(unittest.TestCase):
    def test_no_more_calls_are_under_way_than_the_bound_allows(self) -> None:
        class Narrow(Simulated):
            calls = 1

        outcome = Outcome(Narrow(2), parallelism=1)
        self.assertEqual(outcome.answers, RIGHT)
        self.assertLessEqual(outcome.engine.most, len(cut(WORKLOAD.graph, 1)))

    def test_batches_that_wait_are_joined_into_one_call(self) -> None:
        class Patient(Simulated):
            calls = 1
            waiting = 16

        outcome = Outcome(Patient(4), parallelism=1)
        self.assertEqual(outcome.answers, RIGHT)
        facts = outcome.host.facts["simulated"]
        self.assertLess(sum(facts["calls"].values()), sum(facts["batches"].values()))


class LostTest(unittest.TestCase):
    def test_a_lost_call_goes_again_while_retries_last(self) -> None:
        for error in (Gone("its worker died"), Lost("its worker died")):
            outcome = Outcome(Simulated(1, fails("vdb1", error, 1)), retries=1)
            self.assertEqual(outcome.answers, RIGHT)
            self.assertEqual(outcome.lost_calls, {"lost": 1, "retried": 1, "given_up": 0, "restored": 0})

    def test_without_retries_its_records_fail_and_no_others(self) -> None:
        outcome = Outcome(Simulated(1, fails("vdb1", Gone("its worker died"), 1)))
        self.assertEqual(set(outcome.answers), set(RIGHT))
        self.assertTrue(outcome.failed and len(outcome.failed) < len(RIGHT))
        for number in set(RIGHT) - outcome.failed:
            self.assertEqual(outcome.answers[number], RIGHT[number])
        self.assertTrue(any("its worker died" in line for line in outcome.host.lines), outcome.host.lines)

    def test_a_call_that_is_lost_again_and_again_is_given_up(self) -> None:
        always = fails("vdb1", Gone(""), *range(10_000))
        outcome = Outcome(Simulated(1, always), retries=2)
        self.assertEqual(outcome.failed, set(RIGHT))
        lost = outcome.lost_calls
        self.assertEqual((lost["lost"], lost["retried"]), (3 * lost["given_up"], 2 * lost["given_up"]))

    def test_shards_answer_as_the_whole_and_one_that_is_lost_for_good_fails_what_it_was_asked(self) -> None:
        spec = {**json.loads(OPEN), "placed": True}
        spec["params"]["vdb_shards"] = 2
        self.assertEqual(Outcome(Simulated(1), open=spec).answers, RIGHT)

        def gone(stage: Stage, number: int) -> Any:
            return Gone("its machine is gone") if stage.name == "vdb1_shard1" else None

        outcome = Outcome(Simulated(1, gone), retries=1, open=spec)
        self.assertEqual(outcome.failed, set(RIGHT))
        self.assertTrue(any("its machine is gone" in line for line in outcome.host.lines), outcome.host.lines)

    def test_what_only_builds_state_goes_again_whatever_the_retries(self) -> None:
        outcome = Outcome(Simulated(1, fails("embed_d", Gone(""), 0, 1, 2)))
        self.assertEqual(outcome.answers, RIGHT)
        with self.assertRaisesRegex(Refusal, "embed_d.*state is built from.*lost 6 times"):
            Outcome(Simulated(1, fails("embed_d", Gone(""), *range(10_000))))

    def test_state_that_is_lost_ends_the_run_without_retries_or_where_no_instance_can_be_made_anew(self) -> None:
        lost = fails("category_batch", Gone("its worker died"), 1)
        for engine, retries, remedy in ((Simulated(1, lost), 0, MAKE_ANEW), (Fixed(1, lost), 5, "")):
            words = "a call of .*category_batch.* was lost, and what it had seen with it"
            with self.assertRaisesRegex(Refusal, words) as ended:
                Outcome(engine, retries=retries)
            self.assertEqual(ended.exception.remedy, remedy)


def stateful() -> list[str]:
    return [stage.name for stage in stages() if stage.stateful]


class StateTest(unittest.TestCase):
    """Instances with state that are lost, with all of their calls, and are given again what they had seen."""

    def restored(self, engine: Simulated, what: object, **other: Any) -> Outcome:
        outcome = Outcome(engine, **other)
        self.assertEqual(outcome.answers, RIGHT, what)
        self.assertEqual(outcome.lost_calls["given_up"], 0, what)
        restored = sum(did.startswith("restore") for did in engine.did)
        self.assertEqual(outcome.lost_calls["restored"], restored, what)
        return outcome

    def test_whichever_is_lost_at_whichever_call_it_costs_nothing(self) -> None:
        for name in stateful():
            for number in range(4):
                fault = fails(name.split("+")[0], Gone("its worker died"), number)
                outcome = self.restored(Simulated(number, fault), (name, number), retries=1)
                self.assertEqual(outcome.lost_calls["restored"], 1, (name, number))
                self.assertTrue(any("was lost and is made anew" in line for line in outcome.host.lines))

    def test_whatever_had_been_answered_meanwhile_in_whatever_order(self) -> None:
        class Wide(Simulated):
            calls = 8

        restored = 0
        for seed in range(24):
            for name in stateful():
                fault = fails(name.split("+")[0], Gone("its worker died"), 1 + seed % 8)
                outcome = self.restored(Wide(seed, fault), (name, seed), retries=1, parallelism=1 + seed % 3)
                restored += outcome.lost_calls["restored"]
        self.assertGreater(restored, 24)

    def test_what_was_put_out_because_of_a_call_that_is_lost_is_not_put_out_again(self) -> None:
        for seed in range(4):
            engine = Overtaken(named("merge"), seed)
            outcome = self.restored(engine, seed, retries=1)
            self.assertTrue(engine.was_overtaken)
            self.assertEqual(outcome.lost_calls["restored"], 1)

    def test_all_at_once_and_again_and_again(self) -> None:
        restored = 0
        for seed in range(12):
            outcome = Outcome(Simulated(seed, at_random(seed, stateful(), 0.1)), retries=100)
            self.assertEqual(outcome.answers, RIGHT, seed)
            restored += outcome.lost_calls["restored"]
        self.assertGreater(restored, 24)

    def test_while_it_is_made_anew_it_may_be_lost_again(self) -> None:
        engine = Simulated(2, fails("category_batch", Gone("its worker died"), 3, 4, 6))
        engine.restores_in_vain = 2
        outcome = Outcome(engine, retries=3)
        self.assertEqual(outcome.answers, RIGHT)
        engine = Simulated(2, fails("category_batch", Gone("its worker died"), 3))
        engine.restores_in_vain = 10_000
        with self.assertRaisesRegex(
            Refusal, "category_batch.*/0 was lost 5 times while it was made anew: its new worker died"
        ):
            Outcome(engine, retries=3)

    def test_what_is_lost_while_it_is_flushed_is_flushed_again(self) -> None:
        class Flushed(Simulated):
            flushes = 0

            def finish(self, stage: Stage, instance: int) -> Any:
                if "category_batch" in stage.name:
                    self.flushes += 1
                    if self.flushes == 1:
                        self._dead.add((stage, instance))
                return super().finish(stage, instance)

        engine = Flushed(3)
        self.restored(engine, "flushed", retries=1)
        self.assertEqual(engine.flushes, 2)

    def test_a_call_that_kills_whatever_runs_it_goes_as_tombstones_and_no_other_does(self) -> None:
        victim = min(RIGHT)

        def is_there(batch: bytes) -> bool:
            return any(number == victim and kind == DATA for number, kind, _ in records(batch))

        engine = Deadly(named("category_batch"), is_there)
        outcome = Outcome(engine, retries=2)
        self.assertEqual((outcome.lost_calls["given_up"], engine.deaths), (1, 3))
        self.assertEqual(set(outcome.answers), set(RIGHT))
        self.assertTrue(victim in outcome.failed and outcome.failed <= engine.carried, outcome.failed)
        self.assertTrue(any("is given up: Gone: its worker died" in line for line in outcome.host.lines))

    def test_what_others_state_is_built_from_is_never_given_up(self) -> None:
        join = named("join")
        ports = {edge["to_port"] for edge in inputs(WORKLOAD.graph, join.nodes[0]) if edge["partition"] == "broadcast"}
        documents = Deadly(join, lambda batch: any(port in ports for port, _ in frames(batch)))
        with self.assertRaisesRegex(Refusal, "join, which others' state is built from, was lost 6 times"):
            Outcome(documents, retries=1)


class Overtaken(Simulated):
    """The first call of a stage has run, and its answer comes too late: others are answered with what it made them put
    out, and then its worker dies."""

    def __init__(self, stage: Stage, seed: int) -> None:
        super().__init__(seed)
        self._nodes, self._held, self.was_overtaken = stage.nodes, list[Settle](), False

    def _holds_back(self, stage: Stage, instance: int, output: bytes | None, settle: Settle) -> bool:
        if stage.nodes != self._nodes or instance != 0 or self.was_overtaken:
            return False
        if not self._held:
            self._held.append(settle)
            return True
        if output:
            self.was_overtaken = True
            self._dead.add((stage, instance))
            self._later(lambda: self._held[0](None, Gone("its worker died")))
        return False


class Deadly(Simulated):
    """A runtime whose workers die of certain batches."""

    def __init__(self, stage: Stage, is_deadly: Callable[[bytes], bool]) -> None:
        super().__init__(5, lambda stage, number: Gone("its worker died") if self._dies else None)
        self._stage, self._is_deadly, self._dies = stage, is_deadly, False
        self.deaths = 0
        self.carried: set[int] = set()
        """Records of the batches that they died of."""

    def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
        self._dies = stage.nodes == self._stage.nodes and self._is_deadly(batch)
        if self._dies:
            self.deaths += 1
            self.carried |= {number for number, _, _ in records(batch)}
        return super().submit(stage, instance, batch)


class FailureTest(unittest.TestCase):
    def test_a_call_that_fails_ends_the_run_with_its_stage_and_its_words(self) -> None:
        with self.assertRaisesRegex(Refusal, "Simulated: a call of .*vdb1.*: ValueError: on purpose"):
            Outcome(Simulated(1, fails("vdb1", ValueError("on purpose"), 2)))

    def test_a_submit_that_raises_is_a_call_that_fails(self) -> None:
        class Refuses(Simulated):
            def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
                if batch:
                    raise ValueError("no place")
                return super().submit(stage, instance, batch)

        with self.assertRaisesRegex(Refusal, "ValueError: no place"):
            Outcome(Refuses())

    def test_what_is_no_batch_and_what_is_no_future_are_named(self) -> None:
        class Wrong(Simulated):
            def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
                async def answer() -> str:
                    return "text"

                return answer() if batch else super().submit(stage, instance, batch)

        with self.assertRaisesRegex(TypeError, "returned str where bytes are due"):
            Outcome(Wrong())

        class NoFuture(Simulated):
            def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
                return b"at once"

        with self.assertRaisesRegex(Refusal, "submit returned bytes, which is no future: define `result`"):
            Outcome(NoFuture())

    def test_a_run_that_was_too_small_for_its_nodes_is_refused_unless_the_user_cut_it_short(self) -> None:
        Outcome(Simulated(), nodes=2, total_items=len(RIGHT) + 1)
        with self.assertRaisesRegex(Refusal, "too small for 2 nodes: operators ran on 1. Leave --nodes at 1"):
            Outcome(Simulated(), nodes=2, total_items=len(RIGHT))

    def test_a_failure_is_heard_of_while_events_are_waited_for(self) -> None:
        class Watched(Simulated):
            async def watch(self) -> None:
                while not self.sizes:
                    await asyncio.sleep(0)
                raise Refusal("a worker died")

        with self.assertRaisesRegex(Refusal, "a worker died"):
            asyncio.run(conduct(Watched(), Silent(config(), BATCHES[:1])))

        class Told(Simulated):
            def submit(self, stage: Stage, instance: int, batch: bytes) -> Any:
                if batch:
                    self.run.fail(Refusal("the runtime is going down"))
                return super().submit(stage, instance, batch)

        with self.assertRaisesRegex(Refusal, "going down"):
            asyncio.run(conduct(Told(), Silent(config(), BATCHES[:1])))


class Silent(Host):
    """A host that holds back events until it has answers that will never come."""

    def events(self) -> Iterator[bytes]:
        yield from super().events()
        threading.Event().wait()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
