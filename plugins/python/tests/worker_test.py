"""What runs in worker processes, in one. Run by tests/worker.rs with: library, open spec."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from bench_engine import (
    Refusal,
    Setup,
    Stage,
    Workload,
    archive,
    clocks,
    copy_package,
    cut,
    inputs,
    reach,
    with_port,
    worker,
)

LIBRARY, OPEN = sys.argv[1:3]
GRAPH = Workload(LIBRARY, OPEN).graph
with open(LIBRARY, "rb") as file:
    SHA256 = hashlib.sha256(file.read()).hexdigest()


def frame(seq: int) -> bytes:
    return struct.pack("<IBBHQQqq", 0, 0, 0, 0, seq, 0, 0, 0)


def stage(operator: str, run: str = "a run") -> Stage:
    return next(stage for stage in cut(GRAPH, 2, run) if operator in stage.name.split("+"))


class WorkerTest(unittest.TestCase):
    def setUp(self) -> None:
        worker.open_run(Setup("a run", LIBRARY, SHA256, OPEN))
        self.addCleanup(worker.close_run, "a run")

    def test_a_stage_is_at_home_on_one_of_several_machines_or_anywhere(self) -> None:
        graph = copy.deepcopy(GRAPH)
        next(node for node in graph["nodes"] if node["name"] == "vdb2")["affinity"] = 5
        homes = {one.name: [one.home(machines) for machines in (1, 2, 3)] for one in cut(graph, 2)}
        self.assertEqual(homes.pop("vdb2"), [None, 1, 2])
        self.assertEqual(list(map(set, homes.values())), [{None}] * len(homes))

    def test_a_stage_without_state_is_cut_from_one_with(self) -> None:
        for one in cut(GRAPH, 3):
            kept = {GRAPH["nodes"][node]["state"] != "none" for node in one.nodes}
            self.assertEqual(kept, {one.stateful}, one.name)
        self.assertEqual(sorted(node for one in cut(GRAPH, 3) for node in one.nodes), OPERATORS)

    def test_what_is_only_broadcast_has_no_answer_of_its_own(self) -> None:
        self.assertEqual([one.name for one in cut(GRAPH, 2) if not one.answered], ["embed_d"])

    def test_a_stage_travels_to_workers_as_it_is(self) -> None:
        for one in cut(GRAPH, 2, "a run"):
            self.assertEqual(pickle.loads(pickle.dumps(one)), one)

    def test_without_state_threads_share_no_operator(self) -> None:
        search, failures = stage("vdb1"), []

        def work(first: int) -> None:
            for seq in range(first, first + 300):
                output = worker.process(search, 0, frame(seq))
                if struct.unpack_from("<Q", output, 8)[0] != seq:
                    failures.append(seq)

        threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(worker.used("a run")[1:3], (os.getpid(), 900))

    def test_an_instance_with_state_is_where_it_was_made(self) -> None:
        batcher = stage("global_batch")
        with self.assertRaises(KeyError):
            worker.process(batcher, 0, b"")
        worker.create(batcher, 0)
        self.assertEqual(worker.process(batcher, 0, b""), b"")
        worker.finish(batcher, 0)

    def test_instances_that_are_objects_are_apart(self) -> None:
        merge = stage("merge")
        setup = Setup("a run", LIBRARY, SHA256, OPEN)
        first, second = (edge["to_port"] for edge in inputs(GRAPH, merge.nodes[0]))
        before, after = (worker.Instance(setup, merge, 0) for _ in range(2))
        self.assertEqual(before.process(with_port(frame(3), first)), b"")
        self.assertEqual(after.process(with_port(frame(3), second)), b"", "the other half is in its predecessor")
        self.assertNotEqual(after.process(with_port(frame(3), first)), b"")
        self.assertNotEqual(before.finish(), b"")
        self.assertEqual(after.finish(), b"")
        self.assertEqual(worker.used("a run").calls, 3)

    def test_runs_in_one_process_are_apart(self) -> None:
        worker.open_run(Setup("another", LIBRARY, "", OPEN))
        worker.process(stage("vdb1", "another"), 0, frame(1))
        self.assertEqual((worker.used("a run").calls, worker.used("another").calls), (0, 1))
        worker.close_run("another")
        with self.assertRaisesRegex(RuntimeError, "has not opened the run: call open_run"):
            worker.process(stage("vdb1", "another"), 0, frame(1))

    def test_what_does_not_fit_is_refused(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "is not the library of this bench"):
            worker.open_run(Setup("other library", LIBRARY, "0" * 64, OPEN))
        with self.assertRaisesRegex(RuntimeError, "restart the runtime's workers"):
            worker.open_run(Setup("other sdk", LIBRARY, SHA256, OPEN, "0.0.1"))

    def test_nodes_are_machines_with_the_processes_on_them(self) -> None:
        used = [worker.Used("alpha", 1, 10), worker.Used("alpha", 2, 5), worker.Used("beta", 1, 0)]
        self.assertEqual(
            worker.nodes(used),
            {
                "alpha": {"calls": 15, "processes": [1, 2], "host": "alpha"},
                "beta": {"calls": 0, "processes": [1], "host": "beta"},
            },
        )


class ShippingTest(unittest.TestCase):
    """The package where nothing else of this tree is."""

    def imports(self, path: str, program: str) -> str:
        return subprocess.run(
            [sys.executable, "-I", "-B", "-c", f"import sys; sys.path.insert(0, {path!r}); {program}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def test_an_archive_has_the_package_and_the_modules_that_are_named(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            extra = os.path.join(folder, "extra.py")
            with open(extra, "w") as file:
                file.write("import bench_engine\nNAME = bench_engine.__name__\n")
            path = archive(os.path.join(folder, "code.zip"), extra)
            os.remove(extra)
            self.assertEqual(self.imports(path, "import extra; print(extra.NAME)"), "bench_engine")

    def test_the_library_may_lie_beside_the_package(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy_package(folder)
            library = os.path.join(folder, "lib.so")
            with open(library, "w"):
                pass
            program = "from bench_engine import worker; print(worker.find_library('/elsewhere/lib.so'))"
            self.assertEqual(self.imports(folder, program), library)

    def test_a_library_that_is_not_that_of_the_run_is_passed_over_and_then_named(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("a", "another"), ("b", "the right one")):
                os.mkdir(os.path.join(folder, name))
                with open(os.path.join(folder, name, "lib.so"), "w") as file:
                    file.write(text)
            wrong, right = (os.path.join(folder, name) for name in "ab")
            sha256 = hashlib.sha256(b"the right one").hexdigest()
            path = os.path.join(wrong, "lib.so")
            self.assertEqual(worker.find_library(path, sha256, right), os.path.join(right, "lib.so"))
            with self.assertRaisesRegex(RuntimeError, "is not the library of this bench"):
                worker.find_library(path, sha256)
            with self.assertRaisesRegex(RuntimeError, "has no /elsewhere/lib.so, and it was not shipped"):
                worker.find_library("/elsewhere/lib.so", sha256)


class PrepareTest(unittest.TestCase):
    def test_a_machine_without_indexes_builds_its_own_once_in_a_folder_of_its_own(self) -> None:
        with tempfile.TemporaryDirectory() as home:
            spec = {**json.loads(OPEN), "workload": "wl4", "cache_dir": "/nowhere/on/this/machine"}
            program = (
                "import sys; from bench_engine import worker;"
                "print(len(worker.open_workload(sys.argv[1], '', sys.argv[2]).graph['nodes']))"
            )
            package = os.path.dirname(os.path.dirname(os.path.abspath(worker.__file__)))
            command = [sys.executable, "-B", "-c", program, LIBRARY, json.dumps(spec)]
            environment = {**os.environ, "PYTHONPATH": package, "XDG_CACHE_HOME": home}
            environment.pop("BENCH_CACHE_DIR", None)
            started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
            said = [process.communicate()[0].strip() for process in started]
            self.assertTrue(said[0].isdigit() and said == said[:1] * 3, said)
            built = [os.path.join(folder, name) for folder, _, names in os.walk(home) for name in names]
            indexes = sorted(path for path in built if path.endswith(".idx"))
            self.assertGreater(len(indexes), 0)
            # Nobody replaced what another one had built.
            self.assertEqual([os.stat(path).st_nlink for path in indexes], [1] * len(indexes))
            self.assertFalse([path for path in built if os.path.basename(path).startswith(".index-")])


class ClocksTest(unittest.TestCase):
    def test_no_workers_need_no_telling(self) -> None:
        self.assertIsNone(asyncio.run(clocks.compare([])))

    def test_a_worker_by_the_drivers_clock_is_asked_once_and_says_what_it_has_used(self) -> None:
        asked: list[clocks.Reading] = []

        def ask() -> clocks.Reading:
            asked.append(clocks.read())
            return asked[-1]

        told = asyncio.run(clocks.compare([ask]))
        assert told is not None
        self.assertEqual(len(asked), 1)
        usage = told["workers"][0]["usage"]
        self.assertLessEqual(usage["cpu_ns"], time.process_time_ns())
        self.assertGreaterEqual(usage["machine_busy_ns"], usage["cpu_ns"] // 2)
        self.assertGreater(usage["peak_bytes"], 1 << 20)
        self.assertEqual(usage["machine_cores"], os.cpu_count())

    def test_of_a_clock_elsewhere_the_soonest_answer_is_told_and_who_is_gone_is_left_out(self) -> None:
        passed, ways = 0, iter([9, 9, 3, *[9] * clocks.ROUNDS])

        async def ask() -> clocks.Reading:
            nonlocal passed
            way = next(ways)
            passed += 2 * way
            return clocks.read()._replace(boot="there", read_ns=passed - way + 1000)

        def gone() -> clocks.Reading:
            raise RuntimeError("this worker is gone")

        told = asyncio.run(clocks.compare([gone, ask], lambda: passed))
        assert told is not None
        [one] = told["workers"]
        self.assertEqual((one["received_ns"] - one["sent_ns"], one["read_ns"] - one["sent_ns"]), (6, 1003))
        self.assertEqual((one["boot"], one["process"]), ("there", os.getpid()))
        self.assertEqual(told["driver"]["boot"], clocks.read().boot)


class ReachTest(unittest.TestCase):
    def test_an_address_where_nobody_listens_is_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with self.assertRaisesRegex(Refusal, f"Dask's scheduler cannot be reached at tcp://127.0.0.1:{port}: conn"):
            reach(f"tcp://127.0.0.1:{port}", "Dask's scheduler", "")

    def test_a_port_that_is_none_is_the_users_to_mend(self) -> None:
        for address in ("127.0.0.1:99999", "tcp://127.0.0.1:0", "ray://127.0.0.1", "127.0.0.1:port"):
            with self.assertRaisesRegex(Refusal, f"{address} is not HOST:PORT with a port from 1 to 65535") as refused:
                reach(address, "Ray's head", "")
            self.assertEqual(refused.exception.kind, "unsupported")

    def test_a_web_server_is_told_from_what_says_nothing_and_from_what_hangs_up(self) -> None:
        for answer, is_web in ((b"HTTP/1.1 404 No\r\n\r\n", True), (b"", False), (None, False), (b"first", False)):
            with socket.create_server(("127.0.0.1", 0)) as server:
                address = f"127.0.0.1:{server.getsockname()[1]}"

                def serve(server: socket.socket = server, answer: bytes | None = answer) -> None:
                    connection, _ = server.accept()
                    with connection:
                        if answer == b"first":
                            connection.sendall(answer)
                        connection.recv(100)
                        if answer:
                            connection.sendall(answer)
                        elif answer is None:
                            connection.recv(100)

                thread = threading.Thread(target=serve)
                thread.start()
                if is_web:
                    with self.assertRaisesRegex(Refusal, f"a web server answers at {address}"):
                        reach(address, "Ray's head", "")
                else:
                    reach(address, "Ray's head", "")
                thread.join()


OPERATORS = [node["id"] for node in GRAPH["nodes"] if node["role"] == "operator"]


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
