"""The engine on a simulated Ray: whatever dies, every query is answered once, and rightly.

Run by plugins/python/tests/engines.rs, without Ray, with: library, open spec, a file of batches of events, each behind
its length, and the tests to run if not all.
"""

from __future__ import annotations

import copy
import sys
import unittest
from collections.abc import Iterator
from typing import Any

import workers
from actors import Actors
from bench_engine import DATA, FAILED, Refusal
from engine import Engine
from plan import FUSIONS, Plan
from reference import BATCHES, LIBRARY, OPEN, RIGHT, WORKLOAD, Answers, records
from simulated import Fault, ObjectLost, SimulatedActor, World
from transport import Failure
from workers import StageActor

ALL = set(RIGHT)


class Outcome:
    """A run on the simulated Ray."""

    def __init__(
        self,
        fault: Fault = lambda actor: False,
        *,
        seed: int = 0,
        parallelism: int = 2,
        fusion: str = "all",
        retries: int = 1,
    ) -> None:
        self.answers: Answers = {}
        self.log: list[str] = []
        plan = Plan(WORKLOAD.graph, parallelism, fusion)
        world = World(seed, BATCHES, fault)
        config: dict[str, Any] = {"graph": WORKLOAD.graph, "library": LIBRARY, "open": OPEN}
        config["options"] = {"call_timeout_seconds": None}
        actors = Actors(plan, {name: [*some] for name, some in world.deploy(workers.setups(plan, config)).items()})
        self.actors = actors
        engine = Engine(plan, WORKLOAD, actors, world, retries, self._emit, self.log.append)
        for instance, actor in zip(actors.everyone, world.actors, strict=True):
            actors.started(instance, (actor.process, world.node_of(actor), "here"))
        accepted: list[None] = []
        engine.run(world.next_event, lambda: accepted.append(None))
        assert len(accepted) == len(BATCHES)
        self.counts = engine.counts

    def _emit(self, batch: bytes) -> None:
        for seq, kind, body in records(batch):
            assert seq not in self.answers, f"query {seq} was answered twice"
            self.answers[seq] = kind, body

    @property
    def failed(self) -> set[int]:
        return {seq for seq, (kind, _) in self.answers.items() if kind == FAILED}


class Dies:
    """Actors of a stage die when they run their calls number so and so, counted over all of them."""

    def __init__(self, stage: str, *calls: int, probes_to_fail: int = 2) -> None:
        self.stage, self.calls, self.probes_to_fail = stage, set(calls), probes_to_fail
        self.count = 0

    def __call__(self, actor: SimulatedActor) -> bool:
        if actor.setup.name != self.stage:
            return False
        self.count += 1
        if self.count not in self.calls:
            return False
        actor.die(self.probes_to_fail)
        return True


def stages(fusion: str) -> list[str]:
    return [stage.name for stage in Plan(WORKLOAD.graph, 2, fusion).stages]


def center() -> str:
    found = Plan(WORKLOAD.graph, 2, "all").center
    assert found is not None
    return found.name


class HomeTest(unittest.TestCase):
    def test_what_is_at_home_on_one_of_several_machines_has_actors_of_its_own(self) -> None:
        graph = copy.deepcopy(WORKLOAD.graph)
        next(node for node in graph["nodes"] if node["name"] == "vdb2")["affinity"] = 3
        for fusion in FUSIONS:
            homes = {stage.name: stage.affinity for stage in Plan(graph, 2, fusion, 2).stages}
            self.assertEqual(homes.pop("vdb2"), 3)
            self.assertEqual(set(homes.values()), {None})
            self.assertEqual([stage.name for stage in Plan(graph, 2, fusion).stages], stages(fusion))


class AnswersTest(unittest.TestCase):
    def right(self, outcome: Outcome, what: object) -> None:
        self.assertEqual(outcome.answers, RIGHT, what)

    def test_without_faults_the_answers_are_those_of_one_thread_in_any_order_of_events(self) -> None:
        for fusion in FUSIONS:
            for parallelism in (1, 2, 4):
                for seed in range(3):
                    outcome = Outcome(seed=seed, fusion=fusion, parallelism=parallelism, retries=0)
                    self.right(outcome, (fusion, parallelism, seed))
                    self.assertEqual(outcome.counts.deaths, 0)
                    self.assertEqual(outcome.log, [])

    def test_with_a_retry_a_death_at_any_point_of_any_stage_costs_nothing(self) -> None:
        for fusion in ("all", "chains"):
            for stage in stages(fusion):
                deaths = 0
                for call in (1, 2, 3, 5, 8):
                    outcome = Outcome(Dies(stage, call), seed=call, fusion=fusion)
                    self.right(outcome, (fusion, stage, call))
                    deaths += outcome.counts.deaths
                self.assertGreaterEqual(deaths, 3, f"{stage} hardly has any calls")

    def test_deaths_in_quick_succession_cost_nothing_either(self) -> None:
        for stage in stages("chains"):
            outcome = Outcome(Dies(stage, 2, 4, 6), seed=7, fusion="chains", retries=3)
            self.right(outcome, stage)
            self.assertGreaterEqual(outcome.counts.deaths, 1)

    def test_without_retries_a_death_fails_the_batch_that_was_running_and_no_other(self) -> None:
        queries = [{seq for seq, _, _ in records(batch)} & ALL for batch in BATCHES]
        for stage in [stage.name for stage in Plan(WORKLOAD.graph, 2, "all").front] + [center()]:
            failures = 0
            for call in (2, 3):
                outcome = Outcome(Dies(stage, call), seed=call, retries=0)
                self.assertEqual(set(outcome.answers), ALL)
                self.assertTrue(any(outcome.failed <= some for some in queries), (stage, call, outcome.failed))
                failures += len(outcome.failed)
                for seq in ALL - outcome.failed:
                    self.assertEqual(outcome.answers[seq][0], DATA)
            self.assertGreater(failures, 0, stage)

    def test_a_document_is_made_again_whatever_the_retries(self) -> None:
        for stage in [stage.name for stage in Plan(WORKLOAD.graph, 2, "all").side]:
            outcome = Outcome(Dies(stage, 1, 3), retries=0)
            self.right(outcome, stage)
            self.assertEqual(outcome.counts.lost_documents, 0)

    def test_a_node_that_dies_with_all_its_actors_costs_nothing(self) -> None:
        deaths = 0
        for seed in range(8):
            dead: list[str] = []

            def node_dies(actor: SimulatedActor, dead: list[str] = dead) -> bool:
                if actor.executed != 3 or dead:
                    return False
                dead.append(actor.world.node_of(actor))
                for other in actor.world.actors:
                    if other.world.node_of(other) in dead:
                        other.die()
                return True

            outcome = Outcome(node_dies, seed=seed, retries=3, parallelism=3)
            self.right(outcome, seed)
            deaths += outcome.counts.deaths
        self.assertGreater(deaths, 8, "never more than one at once")

    def test_a_document_lost_unseen_is_sent_again_to_the_very_actor_that_lacks_it(self) -> None:
        lost = 0
        for seed in range(12):
            dead: list[SimulatedActor] = []

            def forgets(actor: SimulatedActor, dead: list[SimulatedActor] = dead) -> bool:
                head = actor.queue[0].head
                if dead or actor.setup.instance != 1 or head is None or head.first == 0:
                    return False
                # It died between two calls, and nobody was told.
                dead.append(actor)
                actor.state = StageActor(actor.setup)
                return False

            outcome = Outcome(forgets, seed=seed, fusion="chains", retries=0)
            self.right(outcome, seed)
            lost += outcome.counts.replays
        self.assertGreater(lost, 0)


class LostDataTest(unittest.TestCase):
    """What an actor has finished can be lost with the node that keeps it."""

    def lost_before(self, stage: str, call: int, seed: int) -> Outcome:
        """The data that a call of this stage was to use is gone."""
        fault = Dies(stage)

        def loses(actor: SimulatedActor) -> bool:
            fault(actor)
            if actor.setup.name != stage or fault.count != call:
                return False
            actor.queue.popleft().fail(Failure(ObjectLost("gone with a node"), object_lost=True))
            return True

        return Outcome(loses, seed=seed, retries=0)

    def test_what_a_batch_had_become_is_computed_again(self) -> None:
        for call in (1, 2, 3):
            outcome = self.lost_before(center(), call, seed=call)
            self.assertEqual(outcome.answers, RIGHT, call)

    def test_what_the_center_had_released_is_released_by_its_successor(self) -> None:
        for stage in [stage.name for stage in Plan(WORKLOAD.graph, 2, "all").tail]:
            for call in (1, 2, 3):
                outcome = self.lost_before(stage, call, seed=call)
                self.assertEqual(outcome.answers, RIGHT, (stage, call))
                self.assertGreater(outcome.counts.replays, 0)
                self.assertTrue(any("lost with a node" in line for line in outcome.log), outcome.log)

    def test_so_it_is_while_the_successor_is_not_up_yet(self) -> None:
        for stage in [stage.name for stage in Plan(WORKLOAD.graph, 2, "all").tail]:
            for seed in range(6):
                dead: list[SimulatedActor] = []

                def loses(actor: SimulatedActor, dead: list[SimulatedActor] = dead, stage: str = stage) -> bool:
                    if actor.setup.name != stage or dead:
                        return False
                    first = next(other for other in actor.world.actors if other.setup.name == center())
                    dead.append(first)
                    first.die(probes_to_fail=30)
                    actor.queue.popleft().fail(Failure(ObjectLost("gone with a node"), object_lost=True))
                    return True

                outcome = Outcome(loses, seed=seed, retries=3)
                self.assertEqual(outcome.answers, RIGHT, (stage, seed))


class GivingUpTest(unittest.TestCase):
    def test_an_actor_that_never_comes_back_ends_the_run_after_a_while(self) -> None:
        with self.assertRaisesRegex(Refusal, "Ray did not restart .* within 60 s"):
            Outcome(Dies(center(), 2, probes_to_fail=1_000_000))

    def test_a_batch_that_kills_whatever_runs_it_is_answered_with_tombstones(self) -> None:
        front = Plan(WORKLOAD.graph, 2, "all").front[0].name
        victim = min(ALL)

        def poison(actor: SimulatedActor) -> bool:
            data = b"".join(each for each in actor.queue[0].data if isinstance(each, bytes))
            if actor.setup.name != front or not any(s == victim and k == DATA for s, k, _ in queries_of(data)):
                return False
            actor.die()
            return True

        outcome = Outcome(poison, retries=2)
        self.assertEqual(set(outcome.answers), ALL)
        self.assertIn(victim, outcome.failed)
        self.assertLessEqual(len(outcome.failed), 16)
        self.assertEqual(outcome.counts.tombstones, len(outcome.failed))
        self.assertEqual((outcome.counts.deaths, outcome.counts.retried), (3, 2))

    def test_a_center_that_dies_of_everything_ends_the_run(self) -> None:
        with self.assertRaisesRegex(Refusal, "even the tombstones of batch .* the worker that ran .* died"):
            Outcome(Dies(center(), *range(1, 1_000)))

    def test_data_that_is_lost_again_and_again_ends_the_run(self) -> None:
        def loses(actor: SimulatedActor) -> bool:
            if actor.setup.name == center():
                actor.queue.popleft().fail(Failure(ObjectLost("gone with a node"), object_lost=True))
            return actor.setup.name == center()

        with self.assertRaisesRegex(Refusal, "batch .* was lost 21 times with workers or nodes that died of something"):
            Outcome(loses)

    def test_operators_that_cannot_be_flushed_end_the_run_with_their_reason(self) -> None:
        def refuses(actor: SimulatedActor) -> bool:
            head = actor.queue[0].head
            if head is None or not head.finish:
                return False
            actor.queue.popleft().fail(Failure(ValueError("nothing is let go")))
            return True

        with self.assertRaisesRegex(Refusal, "could not be flushed: ValueError: nothing is let go"):
            Outcome(refuses)

    def test_what_an_operator_refuses_is_not_tried_again(self) -> None:
        front = Plan(WORKLOAD.graph, 2, "all").front[0].name
        refused: list[int] = []

        def refuses(actor: SimulatedActor) -> bool:
            if actor.setup.name != front or actor.executed != 2 or refused:
                return False
            refused.append(1)
            actor.queue.popleft().fail(Failure(ValueError("not like this")))
            return True

        outcome = Outcome(refuses, retries=5)
        self.assertEqual(set(outcome.answers), ALL)
        self.assertEqual(outcome.counts.retried, 0)
        self.assertTrue(any("is given up: ValueError: not like this" in line for line in outcome.log), outcome.log)


class RecordTest(unittest.TestCase):
    def test_an_actor_that_cannot_be_reached_is_not_said_to_be_dead(self) -> None:
        done: list[int] = []

        def unreachable(actor: SimulatedActor) -> bool:
            if actor.setup.name != center() or actor.executed != 2 or done:
                return False
            done.append(1)
            actor.queue.popleft().fail(actor.death(unavailable=True))
            return True

        outcome = Outcome(unreachable)
        self.assertEqual(outcome.answers, RIGHT)
        self.assertTrue(any(line.endswith("cannot be reached") for line in outcome.log), outcome.log)

    def test_nodes_are_told_with_every_process_that_they_had(self) -> None:
        outcome = Outcome(Dies(center(), 2))
        nodes = outcome.actors.nodes()
        processes = [process for node in nodes.values() for process in node["processes"]]
        self.assertEqual(len(processes), len(outcome.actors.everyone) + 1)
        self.assertEqual(sum(node["calls"] for node in nodes.values()), outcome.actors.calls.total())
        operators = sum(len(instance.stage.nodes) for instance in outcome.actors.everyone)
        self.assertEqual(sum(node["operators"] for node in nodes.values()), operators)


def queries_of(batch: bytes) -> Iterator[tuple[int, int, bytes]]:
    return ((seq, kind, body) for seq, kind, body in records(batch) if seq in ALL)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
