"""What every Python engine of bench shares: the workload library and the channel to the host.

Needs Python 3.10 and nothing else. A driver imports this module and calls :func:`run`; a worker process
imports it for :class:`Workload` alone.

* :class:`Workload`, :class:`Operator`, :class:`Router` call ``libbench_workloads.so`` through ctypes. Calls
  that work on records release the GIL; calls that only look something up keep it, because giving it up
  and waiting to get it back costs more than they do.
* :class:`Channel` speaks to the Rust side on two descriptors of its own, so that whatever a runtime
  prints cannot be taken for a message.
* :func:`chains`, :func:`outputs`, :func:`instances`, :func:`answered_sources` read the graph; see
  ``bench_dataflow::graph``, whose rules they repeat.

On the channel every number is little endian. Down: u32 length, then a batch of events; length 0 is the end.
The first message down is the JSON of the run. Up: u32 length of the payload, one byte that names the
message, the payload. ``R`` results, ``P`` phase, ``L`` log line, ``M`` metrics, ``E`` error, ``D`` done.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

EVENTS_FD = 3
MESSAGES_FD = 4
LIFELINE = "BENCH_LIFELINE"

ABI = 1
_EVENTS_NODE = 0xFFFF_FFFF

Json = dict[str, Any]
Delivery = tuple[int, int, bytes]
"""Where a batch goes and the batch: (node, instance, bytes)."""


# ── The workload library ─────────────────────────────────────────────────────────────────────────────


class WorkloadError(RuntimeError):
    """The library refused a call: bytes that are not a batch, a node that is not an operator."""


class _Library:
    """The C functions with their types."""

    def __init__(self, path: str) -> None:
        self.path = path
        works = ctypes.CDLL(path)
        looks = ctypes.PyDLL(path)
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
        text, batch, out = ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p

        def function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
            found = getattr(library, f"bench_{name}")
            found.restype, found.argtypes = result, list(arguments)
            return found

        self.abi = function(looks, "workloads_abi", number)
        if (found := self.abi()) != ABI:
            raise WorkloadError(f"{path} has ABI {found}, this driver needs {ABI}: build both together")
        self.last_error = function(looks, "last_error", text)
        self.open = function(works, "workload_open", pointer, text)
        self.close = function(works, "workload_close", None, pointer)
        self.graph = function(looks, "workload_graph", text, pointer)
        self.operator_new = function(works, "operator_new", pointer, pointer, pointer, size, number, number)
        self.process = function(works, "operator_process", ctypes.c_int, pointer, batch, size, out, out)
        self.finish = function(works, "operator_finish", ctypes.c_int, pointer, out, out)
        self.operator_free = function(works, "operator_free", None, pointer)
        self.router_new = function(looks, "router_new", pointer, pointer, number)
        self.router_free = function(looks, "router_free", None, pointer)
        self.instances = function(looks, "router_instances", number, pointer, number)
        self.route = function(looks, "route", pointer, pointer, number, batch, size, number)
        self.fail = function(looks, "fail", pointer, pointer, number, batch, size, text)
        self.count = function(looks, "batches_count", size, pointer)
        self.get = function(looks, "batches_get", ctypes.c_int, pointer, size, out, out, out, out)
        self.batches_free = function(looks, "batches_free", None, pointer)

    def error(self) -> WorkloadError:
        """The failure of the last call of this thread."""
        return WorkloadError((self.last_error() or b"").decode(errors="replace"))

    def deliveries(self, batches: int | None) -> list[Delivery]:
        """Copies batches out and frees them."""
        if not batches:
            raise self.error()
        node, instance = ctypes.c_uint32(), ctypes.c_uint32()
        data, length = ctypes.c_void_p(), ctypes.c_size_t()
        to = [ctypes.byref(place) for place in (node, instance, data, length)]
        try:
            found = []
            for index in range(self.count(batches)):
                if self.get(batches, index, *to):
                    raise self.error()
                found.append((node.value, instance.value, ctypes.string_at(data, length.value)))
            return found
        finally:
            self.batches_free(batches)


class Workload:
    """An open workload. Any thread may use it."""

    def __init__(self, library: str, open_spec: str | Json) -> None:
        spec = open_spec if isinstance(open_spec, str) else json.dumps(open_spec)
        self._free: Callable[[int], None] | None = None
        self._library = _Library(library)
        self._handle: int = self._library.open(spec.encode())
        if not self._handle:
            raise self._library.error()
        self._free = self._library.close
        self.graph: Json = json.loads(self._library.graph(self._handle))

    def operator(self, nodes: int | Sequence[int], instance: int = 0, of: int = 1) -> Operator:
        """Instance ``instance`` of ``of`` of a node, or of several fused into one."""
        line = [nodes] if isinstance(nodes, int) else nodes
        return Operator(self._library, self._handle, line, instance, of)

    def router(self, parallelism: int) -> Router:
        """A router for up to ``parallelism`` instances of each node."""
        return Router(self, parallelism)

    def fail(self, node: int, batch: bytes, reason: str) -> bytes:
        """What ``node`` would write if every record of ``batch`` had failed in it; route it from ``node``.

        ``batch`` is on its way *into* ``node``. Records on a broadcast input leave nothing. Where ``node``
        keeps state and is still there, use :meth:`fail_input`: a record that never reached an operator that
        pairs halves would otherwise be answered twice, here and by the half that waits in vain.
        """
        text = reason.replace("\0", " ").encode()
        batches = self._library.fail(self._handle, node, batch, len(batch), text)
        return self._library.deliveries(batches)[0][2]

    def fail_input(self, node: int, batch: bytes, reason: str) -> bytes:
        """The batch as ``node`` would read it if every record had failed before it.

        For an operator that is still there and has to see each record: one that pairs, orders or counts
        would otherwise wait for those it never saw.
        """
        failed = self.fail(node, batch, reason)
        length = _PREFIX.unpack_from(failed)[0] if failed else 0
        body = failed[HEADER_LEN : HEADER_LEN + length]
        output = bytearray()
        for at, end in extents(batch):
            size, port, kind, spans = _PREFIX.unpack_from(batch, at)
            if kind != DATA:
                output += batch[at:end]
                continue
            output += _PREFIX.pack(len(body), port, FAILED, spans)
            output += batch[at + _PREFIX.size : at + HEADER_LEN] + body + batch[at + HEADER_LEN + size : end]
        return bytes(output)

    def __del__(self) -> None:
        if self._free is not None:
            self._free(self._handle)


class Operator:
    """One instance of a node or a chain. **One thread at a time**; threads may take turns."""

    def __init__(self, library: _Library, workload: int, nodes: Sequence[int], instance: int, of: int) -> None:
        self._free: Callable[[int], None] | None = None
        ids = (ctypes.c_uint32 * len(nodes))(*nodes)
        self._library = library
        self._handle: int = library.operator_new(workload, ids, len(nodes), instance, of)
        if not self._handle:
            raise library.error()
        self._free = library.operator_free
        self._data, self._length = ctypes.c_void_p(), ctypes.c_size_t()
        self._out = ctypes.byref(self._data), ctypes.byref(self._length)

    def process(self, batch: bytes) -> bytes:
        """Processes a batch in order. A record that fails is a tombstone in the result, not an exception."""
        return self._result(self._library.process(self._handle, batch, len(batch), *self._out))

    def finish(self) -> bytes:
        """Flushes what is held, once, after all inputs have ended."""
        return self._result(self._library.finish(self._handle, *self._out))

    def _result(self, status: int) -> bytes:
        if status:
            raise self._library.error()
        return ctypes.string_at(self._data, self._length.value) if self._length.value else b""

    def __del__(self) -> None:
        if self._free is not None:
            self._free(self._handle)


class Router:
    """From what a node wrote to the inputs of the next. Any thread may use it."""

    def __init__(self, workload: Workload, parallelism: int) -> None:
        self._free: Callable[[int], None] | None = None
        self._library = workload._library
        self._handle: int = self._library.router_new(workload._handle, parallelism)
        if not self._handle:
            raise self._library.error()
        self._free = self._library.router_free

    def route(self, node: int, batch: bytes, turn: int) -> list[Delivery]:
        """Routes what ``node`` wrote. Where any instance will do, records go to ``turn % instances``."""
        if not batch:
            return []
        return self._library.deliveries(self._library.route(self._handle, node, batch, len(batch), turn))

    def route_events(self, batch: bytes, turn: int) -> list[Delivery]:
        """Routes events as they came from the host."""
        return self.route(_EVENTS_NODE, batch, turn)

    def instances(self, node: int) -> int:
        """How many instances ``node`` has."""
        return int(self._library.instances(self._handle, node))

    def __del__(self) -> None:
        if self._free is not None:
            self._free(self._handle)


# ── The graph ────────────────────────────────────────────────────────────────────────────────────────


def outputs(graph: Json, node: int) -> list[Json]:
    """Edges that leave ``node``."""
    return [edge for edge in graph["edges"] if edge["from"] == node]


def inputs(graph: Json, node: int) -> list[Json]:
    """Edges that enter ``node``."""
    return [edge for edge in graph["edges"] if edge["to"] == node]


def instances(graph: Json, node: int, parallelism: int) -> int:
    """How many instances of ``node`` to run when the user asks for ``parallelism``."""
    limit = graph["nodes"][node]["max_parallelism"]
    return max(1, parallelism if limit is None else min(parallelism, limit))


def chains(graph: Json) -> list[list[int]]:
    """Operators grouped into runs that may be fused into one task, in topological order."""
    nodes = graph["nodes"]
    found: list[list[int]] = []
    for node in (node for node in nodes if node["role"] == "operator"):

        def fusable(chain: list[int], node: Json = node) -> bool:
            last = nodes[chain[-1]]
            entering = inputs(graph, node["id"])
            return (
                len(entering) == 1
                and entering[0]["from"] == last["id"]
                and entering[0]["partition"] == "any"
                and len(outputs(graph, last["id"])) == 1
                and all(last[field] == node[field] for field in ("max_parallelism", "blocking"))
            )

        chain = next(filter(fusable, found), None)
        if chain is None:
            found.append([node["id"]])
        else:
            chain.append(node["id"])
    return found


def answered_sources(graph: Json) -> list[int]:
    """Sources whose events are answered at the sink: a broadcast input ends in the state it builds."""
    reaches = {node["id"] for node in graph["nodes"] if node["role"] == "sink"}
    for node in reversed(graph["nodes"]):
        through = (edge for edge in outputs(graph, node["id"]) if edge["partition"] != "broadcast")
        if any(edge["to"] in reaches for edge in through):
            reaches.add(node["id"])
    return [node["id"] for node in graph["nodes"] if node["role"] == "source" and node["id"] in reaches]


# ── Frames ───────────────────────────────────────────────────────────────────────────────────────────

HEADER_LEN = 40
SPAN_LEN = 32
DATA, FAILED, HEARTBEAT = 0, 1, 2
_PREFIX = struct.Struct("<IBBH")


def extents(batch: bytes) -> Iterator[tuple[int, int]]:
    """Where each frame of a batch begins and ends."""
    at = 0
    while at < len(batch):
        body, _, _, spans = _PREFIX.unpack_from(batch, at)
        end = at + HEADER_LEN + body + SPAN_LEN * spans
        yield at, end
        at = end


def frames(batch: bytes) -> Iterator[tuple[int, int]]:
    """(port, kind) of each frame of a batch."""
    at = 0
    while at < len(batch):
        body, port, kind, spans = _PREFIX.unpack_from(batch, at)
        yield port, kind
        at += HEADER_LEN + body + SPAN_LEN * spans


class Tally:
    """Counts what went in and what came out: an exit status of 0 proves nothing. Any thread."""

    def __init__(self, graph: Json) -> None:
        self._answered = set(answered_sources(graph))
        self._lock = threading.Lock()
        self.events = self.others = self.results = self.failed = 0

    def event_batch(self, batch: bytes) -> None:
        """Takes note of events that came from the host."""
        ports = [port for port, kind in frames(batch) if kind != HEARTBEAT]
        answered = sum(port in self._answered for port in ports)
        with self._lock:
            self.events += answered
            self.others += len(ports) - answered

    def result_batch(self, batch: bytes) -> None:
        """Takes note of results on their way to the host."""
        kinds = [kind for _, kind in frames(batch) if kind != HEARTBEAT]
        with self._lock:
            self.results += len(kinds)
            self.failed += kinds.count(FAILED)

    def metrics(self) -> Json:
        """For the record: ``events`` to be answered, ``other_events``, ``results``, ``failed``."""
        return {
            "events": self.events,
            "other_events": self.others,
            "results": self.results,
            "failed": self.failed,
        }


# ── The channel ──────────────────────────────────────────────────────────────────────────────────────


class Refusal(Exception):
    """Ends the run with an error that the user should read as it is written, without a traceback."""

    def __init__(self, message: str, kind: str = "runtime", remedy: str = "") -> None:
        super().__init__(message)
        self.kind, self.remedy = kind, remedy


class HostGone(Exception):
    """The host closed the channel in the middle of the stream."""


class Channel:
    """Both directions. Reading belongs to one thread; any thread may write."""

    # A runtime that ships this module may import it anew, in place: what was raised before is of these classes.
    _refusal, _host_gone = Refusal, HostGone

    def __init__(self, events_fd: int = EVENTS_FD, messages_fd: int = MESSAGES_FD) -> None:
        for descriptor in (events_fd, messages_fd):
            os.set_inheritable(descriptor, False)  # or a child would keep the channel open
        self._events = os.fdopen(events_fd, "rb", buffering=1 << 16)
        self._messages = messages_fd
        self._lock = threading.Lock()
        self.config: Json = json.loads(self._read() or b"{}")

    def events(self) -> Iterator[bytes]:
        """Batches of events. **The first one starts the host's clock**: be deployed and warm before."""
        self.phase("steady")
        while (batch := self._read()) is not None:
            yield batch
        self.phase("drain")

    def emit(self, batch: bytes) -> None:
        """Hands results to the sink, which stamps the time."""
        if batch:
            self._write(b"R", batch)

    def phase(self, name: str, detail: str = "") -> None:
        """Says that a phase begins: ``deploy``, ``warm-up``, ``teardown``; the others report themselves.

        ``detail`` is what is being waited for, as a clause that "for 25 s" may follow: "Ray has not answered". A
        run that is timed out says so. Call it again in the same phase when it waits for something else.
        """
        self._write_json(b"P", {"phase": name, "detail": detail})

    def log(self, message: str, level: str = "info") -> None:
        """A line for the host's log. ``error``, ``warn``, ``info``, ``debug`` or ``trace``."""
        self._write_json(b"L", {"level": level, "message": message})

    def metrics(self, facts: Json) -> None:
        """Facts for the record's ``extra``; later calls add to earlier ones."""
        self._write_json(b"M", facts)

    def error(self, message: str, kind: str = "runtime", remedy: str = "") -> None:
        """Says why the run ends. Leave the process afterwards."""
        self._write_json(b"E", {"kind": kind, "message": message, "remedy": remedy})

    def done(self) -> None:
        """Says that every result was emitted and nothing is left running."""
        self._write(b"D", b"")

    def fatal(self, error: BaseException) -> NoReturn:
        """Reports an exception from any thread and ends the process: a lost thread must not look like a
        quiet, complete run."""
        try:
            if isinstance(error, (Refusal, self._refusal)):
                self.error(str(error), error.kind, error.remedy)
            elif not isinstance(error, (HostGone, self._host_gone)):
                traceback.print_exception(error)
                self.error(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(70)

    def _read(self) -> bytes | None:
        length = struct.unpack("<I", self._exactly(4))[0]
        return self._exactly(length) if length else None

    def _exactly(self, count: int) -> bytes:
        data = self._events.read(count)
        if len(data) != count:
            raise HostGone
        return data

    def _write_json(self, kind: bytes, value: Json) -> None:
        self._write(kind, json.dumps(value).encode())

    def _write(self, kind: bytes, payload: bytes) -> None:
        with self._lock:
            self._write_all(struct.pack("<I", len(payload)) + kind, payload)

    def _write_all(self, head: bytes, payload: bytes) -> None:
        written = os.writev(self._messages, [head, payload])
        rest = memoryview(head + payload)[written:] if written < len(head) + len(payload) else memoryview(b"")
        while rest:
            rest = rest[os.write(self._messages, rest) :]


def run(main: Callable[[Channel], None]) -> NoReturn:
    """The whole of a driver: opens the channel, calls ``main`` and reports how that ended."""
    _leave_a_warden()
    channel = Channel()
    try:
        main(channel)
        channel.done()
    except BaseException as error:
        channel.fatal(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing that a runtime left running may keep the process alive


# ── The warden ───────────────────────────────────────────────────────────────────────────────────────


def _leave_a_warden() -> None:
    """Where a runtime starts processes of its own, leaves one that ends them all when the host dies.

    The kernel kills the driver with its parent, but not the driver's children. The host gives such drivers
    a third descriptor that ends when the host does, however it dies. Called before any thread exists.
    """
    if (number := os.environ.pop(LIFELINE, None)) is None:
        return
    lifeline = int(number)
    if os.fork():
        os.close(lifeline)
        return
    session = os.getsid(0)
    os.closerange(0, lifeline)
    while os.read(lifeline, 1):
        pass
    while others := [pid for pid in _session(session) if pid != os.getpid()]:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        threading.Event().wait(0.02)
    os._exit(0)


def _session(session: int) -> Iterator[int]:
    """Processes of a session that are not dead already."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != b"Z":
            yield int(name)
