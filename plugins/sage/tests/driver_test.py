"""What the SAGE driver does when SAGE fails, with engines that fail on purpose. No SAGE needed.

Run by plugins/python/tests/engines.rs with: library, open spec, a file of batches of events, each behind its length.
"""

import struct
import sys
import threading
import unittest
from collections.abc import Iterator

import driver
from bench_engine import FAILED, Workload, extents
from driver import Carrier, Flight, Operators, Packet

LIBRARY, OPEN, EVENTS = sys.argv[1:4]


def batches() -> Iterator[bytes]:
    with open(EVENTS, "rb") as file:
        while head := file.read(4):
            yield file.read(struct.unpack("<I", head)[0])


class Inline:
    """Runs packets as an engine would; fails when ``fails`` says so for a (call, packet)."""

    def __init__(self, operators: Operators, fails: dict[int, int]) -> None:
        self.operators, self.fails, self.calls = operators, fails, 0
        self.late: list[Packet] = []

    def run(self, lane: int, packets: list[Packet]) -> None:
        self.calls += 1
        left = self.fails.get(self.calls)
        while packets:
            packet, *packets = packets
            if left is not None:
                if left == 0:
                    self.late += [packet, *packets]
                    raise ConnectionError("the actor is gone")
                left -= 1
            packets += self.operators.process(packet)

    def close(self) -> None:
        pass


class CarrierTest(unittest.TestCase):
    def outcome(self, fails: dict[int, int], retries: int) -> tuple[dict[int, int], Carrier]:
        """The kind of each query's result, by sequence number."""
        results: dict[int, int] = {}
        lock = threading.Lock()

        def emit(batch: bytes) -> None:
            for at, _ in extents(batch):
                kind, seq = batch[at + 5], struct.unpack_from("<Q", batch, at + 8)[0]
                with lock:
                    self.assertNotIn(seq, results, "a query was answered twice")
                    results[seq] = kind

        operators = Operators(Workload(LIBRARY, OPEN), 2, emit)
        engine = Inline(operators, fails)
        carrier = Carrier(engine, operators, retries)
        for number, batch in enumerate(batches()):
            flight = Flight(turn=number)
            carrier.carry(0, flight, operators.events(batch, flight))
            for packet in engine.late:
                self.assertEqual(operators.process(packet), [], "a packet given up came back to life")
        for chain in operators.chains:
            flight = Flight(turn=0)
            carrier.carry(0, flight, operators.finish(chain, flight))
        return results, carrier

    def test_without_failures_everything_is_answered(self) -> None:
        results, carrier = self.outcome({}, 0)
        self.assertEqual((sorted(results), set(results.values())), (list(range(48)), {0}))
        self.assertEqual(carrier.losses.errors, 0)

    def test_a_failure_at_any_point_fails_at_most_its_own_batch(self) -> None:
        for after in range(12):
            results, carrier = self.outcome({2: after}, 0)
            failed = sorted(seq for seq, kind in results.items() if kind == FAILED)
            self.assertEqual(sorted(results), list(range(48)), f"after {after} packets")
            self.assertLessEqual(set(failed), set(range(16, 32)), f"after {after} packets")
            if carrier.losses.packets:
                self.assertEqual(carrier.losses.last, "ConnectionError: the actor is gone")
        self.assertEqual(self.failed_after_the_start(), list(range(16, 32)))

    def failed_after_the_start(self) -> list[int]:
        results, _ = self.outcome({2: 0}, 0)
        return sorted(seq for seq, kind in results.items() if kind == FAILED)

    def test_with_a_retry_nothing_is_lost(self) -> None:
        for after in range(12):
            results, carrier = self.outcome({2: after}, 1)
            self.assertEqual((sorted(results), set(results.values())), (list(range(48)), {0}))
            self.assertEqual(carrier.losses.packets, 0)


class StagesTest(unittest.TestCase):
    def test_chains_that_can_run_together_share_a_stage(self) -> None:
        graph = Workload(LIBRARY, OPEN).graph
        names = [[graph["nodes"][chain[0]]["name"] for chain in stage] for stage in driver.stages(graph)]
        self.assertEqual(
            names,
            [["embed_q", "embed_d"], ["join"], ["vdb1", "vdb2"], ["merge"], ["category_batch"], ["generate"]],
        )


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
