"""The library and the channel, as an engine uses them, against the real library.

Run by tests/worker.rs with: library, open spec, chains."""

import ctypes
import json
import os
import struct
import sys
import threading
import unittest

import bench_engine
from bench_engine import DATA, FAILED, HEADER_LEN, HEARTBEAT, Channel, HostGone, Tally, Workload, WorkloadError

LIBRARY, OPEN, CHAINS = sys.argv[1:4]


def frame(seq: int, port: int = 0, kind: int = DATA, body: bytes = b"", key: int = 0) -> bytes:
    return struct.pack("<IBBHQQqq", len(body), port, kind, 0, seq, key, 0, 0) + body


def header(batch: bytes) -> tuple[int, ...]:
    return struct.unpack_from("<IBBHQQqq", batch)


class LibraryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.workload = Workload(LIBRARY, OPEN)
        self.ids = {node["name"]: node["id"] for node in self.workload.graph["nodes"]}

    def test_chains_equal_those_of_rust(self) -> None:
        self.assertEqual(bench_engine.chains(self.workload.graph), json.loads(CHAINS))

    def test_only_queries_are_answered(self) -> None:
        self.assertEqual(bench_engine.answered_sources(self.workload.graph), [self.ids["query_source"]])

    def test_an_operator_passes_records_on_and_the_router_knows_the_way(self) -> None:
        router = self.workload.router(4)
        [(node, instance, batch)] = router.route_events(frame(5, self.ids["query_source"]), 6)
        self.assertEqual((node, instance), (self.ids["embed_q"], 2))
        output = self.workload.operator(node).process(batch)
        [(node, instance, onward)] = router.route(node, output, 3)
        self.assertEqual((node, instance, header(onward)[4]), (self.ids["join"], 3, 5))

    def test_documents_reach_every_instance_of_the_join(self) -> None:
        router = self.workload.router(3)
        deliveries = router.route(self.ids["embed_d"], frame(0) + frame(1), 0)
        self.assertEqual([instance for _, instance, _ in deliveries], [0, 1, 2])
        self.assertEqual(router.instances(self.ids["join"]), 3)
        self.assertEqual(router.instances(self.ids["global_batch"]), 1)

    def test_instances_follow_the_same_rule_as_the_router(self) -> None:
        router = self.workload.router(4)
        for node in self.ids.values():
            self.assertEqual(bench_engine.instances(self.workload.graph, node, 4), router.instances(node))

    def test_empty_batches_are_batches(self) -> None:
        operator = self.workload.operator([self.ids["embed_q"]])
        self.assertEqual(operator.process(b""), b"")
        self.assertEqual(operator.finish(), b"")
        self.assertEqual(self.workload.router(1).route(2, b"", 0), [])

    def test_errors_carry_the_reason_of_the_library(self) -> None:
        with self.assertRaisesRegex(WorkloadError, "not an operator"):
            self.workload.operator(0)
        with self.assertRaisesRegex(WorkloadError, "malformed batch"):
            self.workload.operator(self.ids["embed_q"]).process(b"nonsense")
        with self.assertRaisesRegex(WorkloadError, "malformed batch"):
            self.workload.router(1).route(2, b"nonsense", 0)
        with self.assertRaisesRegex(WorkloadError, "open spec"):
            Workload(LIBRARY, "{}")
        operator = self.workload.operator(self.ids["embed_q"])
        operator.finish()
        with self.assertRaisesRegex(WorkloadError, "finished already"):
            operator.finish()

    def test_an_operator_outlives_its_workload(self) -> None:
        operator, router = self.workload.operator(self.ids["vdb1"]), self.workload.router(2)
        del self.workload
        self.assertEqual(len(router.route(self.ids["vdb1"], operator.process(frame(1)), 0)), 1)

    def test_failing_a_batch_leaves_one_tombstone_per_record_and_port(self) -> None:
        lost = frame(1, body=b"x") + frame(2, kind=HEARTBEAT) + frame(3, body=b"y")
        failed = self.workload.fail(self.ids["vdb1"], lost, "the worker died")
        self.assertEqual([kind for _, kind in bench_engine.frames(failed)], [FAILED, HEARTBEAT, FAILED])
        self.assertIn(b"the worker died", failed)
        copies = self.workload.fail(self.ids["fork"], lost, "")
        self.assertEqual([port for port, _ in bench_engine.frames(copies)], [0, 1] * 3)

    def test_failing_the_input_keeps_ports_and_keys(self) -> None:
        lost = frame(1, port=1, body=b"xyz", key=9) + frame(2, port=0, kind=HEARTBEAT) + frame(3, body=b"y")
        failed = self.workload.fail_input(self.ids["merge"], lost, "gone")
        self.assertEqual(list(bench_engine.frames(failed)), [(1, FAILED), (0, HEARTBEAT), (0, FAILED)])
        self.assertEqual(header(failed)[4:6], (1, 9))
        self.assertEqual(failed.count(b"gone"), 2)
        self.workload.operator(self.ids["merge"]).process(failed)

    def test_failing_documents_keeps_their_places(self) -> None:
        failed = self.workload.fail_input(self.ids["join"], frame(7, port=1, body=b"doc"), "gone")
        self.assertEqual((list(bench_engine.frames(failed)), len(failed)), ([(1, FAILED)], HEADER_LEN))

    def test_c_is_told_of_nodes_and_chains_what_the_graph_says(self) -> None:
        class Facts(ctypes.Structure):
            _fields_ = [(name, ctypes.c_uint32) for name in ("role", "state", "max_parallelism", "blocking")]
            _fields_ += [("name", ctypes.c_char_p)]

        library, handle = ctypes.CDLL(LIBRARY), ctypes.c_void_p(self.workload._handle)
        graph, facts, length = self.workload.graph, Facts(), ctypes.c_size_t()
        self.assertEqual(library.bench_workload_node_count(handle), len(graph["nodes"]))
        for node in graph["nodes"]:
            self.assertEqual(library.bench_workload_node(handle, node["id"], ctypes.byref(facts)), 0)
            self.assertEqual(facts.name.decode(), node["name"])
            self.assertEqual(("source", "operator", "sink")[facts.role], node["role"])
            self.assertEqual(("none", "broadcast", "keyed", "global")[facts.state], node["state"])
            self.assertEqual(facts.max_parallelism, node["max_parallelism"] or 0)
            self.assertEqual(bool(facts.blocking), node["blocking"])
        self.assertEqual(library.bench_workload_node(handle, len(graph["nodes"]), ctypes.byref(facts)), 1)
        library.bench_workload_chain.restype = ctypes.POINTER(ctypes.c_uint32)
        told = []
        for index in range(library.bench_workload_chain_count(handle)):
            chain = library.bench_workload_chain(handle, ctypes.c_size_t(index), ctypes.byref(length))
            told.append(chain[: length.value])
        self.assertEqual(told, bench_engine.chains(graph))

    def test_threads_work_on_their_own_instances(self) -> None:
        failures: list[BaseException] = []

        def work(instance: int) -> None:
            try:
                operator = self.workload.operator(self.ids["vdb1"], instance, 4)
                for seq in range(500):
                    assert header(operator.process(frame(seq, body=b"z" * 99)))[4] == seq
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(instance,)) for instance in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_the_tally_tells_queries_documents_and_results_apart(self) -> None:
        tally = Tally(self.workload.graph)
        queries, docs = self.ids["query_source"], self.ids["doc_source"]
        tally.event_batch(frame(0, docs) + frame(0, queries) + frame(1, queries, HEARTBEAT))
        tally.result_batch(frame(0, kind=FAILED) + frame(1, kind=HEARTBEAT))
        self.assertEqual(tally.metrics(), {"events": 1, "other_events": 1, "results": 1, "failed": 1})


class ChannelTest(unittest.TestCase):
    def setUp(self) -> None:
        read, self.down = os.pipe()
        self.up, write = os.pipe()
        self.send(b'{"parallelism": 2}')
        self.channel = Channel(read, write)

    def send(self, payload: bytes) -> None:
        os.write(self.down, struct.pack("<I", len(payload)) + payload)

    def message(self) -> tuple[bytes, bytes]:
        length, kind = struct.unpack("<Ic", os.read(self.up, 5))
        return kind, os.read(self.up, length)

    def test_events_start_the_clock_and_end_in_the_drain(self) -> None:
        self.assertEqual(self.channel.config, {"parallelism": 2})
        self.send(b"abc")
        self.send(b"")
        self.assertEqual(list(self.channel.events()), [b"abc"])
        self.assertEqual(self.message(), (b"P", b'{"phase": "steady", "detail": ""}'))
        self.assertEqual(self.message(), (b"P", b'{"phase": "drain", "detail": ""}'))

    def test_a_host_that_dies_is_no_end_of_stream(self) -> None:
        self.send(b"abc")
        os.close(self.down)
        with self.assertRaises(HostGone):
            list(self.channel.events())

    def test_a_message_larger_than_the_pipe_arrives_whole(self) -> None:
        payload = os.urandom(300_000)
        writer = threading.Thread(target=self.channel.emit, args=(payload,))
        writer.start()
        length, kind = struct.unpack("<Ic", os.read(self.up, 5))
        got = b""
        while len(got) < length:
            got += os.read(self.up, length - len(got))
        writer.join()
        self.assertEqual((kind, got), (b"R", payload))

    def test_a_forked_process_does_not_keep_the_channel_open(self) -> None:
        child_reads, parent_writes = os.pipe()
        if (child := os.fork()) == 0:
            os.close(parent_writes)
            os.read(child_reads, 1)
            os._exit(0)
        os.close(child_reads)
        os.close(self.channel._messages)
        self.assertEqual(os.read(self.up, 1), b"", "the channel ends with the driver")
        os.close(parent_writes)
        os.waitpid(child, 0)

    def test_phases_are_timed(self) -> None:
        self.channel.phase("deploy", "one thing")
        self.channel.phase("deploy", "another")
        self.assertEqual(list(self.channel.phase_seconds()), ["start-up", "deploy"])

    def test_no_results_are_no_message(self) -> None:
        self.channel.emit(b"")
        self.channel.done()
        self.assertEqual(self.message(), (b"D", b""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
