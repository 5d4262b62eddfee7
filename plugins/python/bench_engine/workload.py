"""The operators of a workload and the ways between them: ``libbench_workloads.so`` through ctypes.

Calls that work on records release the GIL; calls that only look something up keep it, because giving it up and waiting
to get it back costs more than they do.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Sequence
from typing import Any

from bench_engine.graph import Json

ABI = 1
_EVENTS_NODE = 0xFFFF_FFFF

Delivery = tuple[int, int, bytes]
"""Where a batch goes and the batch: (node, instance, bytes)."""


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
        self.fail_input = function(looks, "fail_input", pointer, pointer, number, batch, size, text)
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
        return self._failed(self._library.fail, node, batch, reason)

    def fail_input(self, node: int, batch: bytes, reason: str) -> bytes:
        """The batch as ``node`` would read it if every record had failed before it.

        For an operator that is still there and has to see each record: one that pairs, orders or counts
        would otherwise wait for those it never saw.
        """
        return self._failed(self._library.fail_input, node, batch, reason)

    def _failed(self, call: Callable[..., int | None], node: int, batch: bytes, reason: str) -> bytes:
        text = reason.replace("\0", " ").encode()
        return self._library.deliveries(call(self._handle, node, batch, len(batch), text))[0][2]

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
