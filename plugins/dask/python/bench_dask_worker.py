"""bench's operators inside Dask's workers.

Dask ships this module to every worker, so it imports nothing but Dask and the standard library.
"""

import ctypes
import hashlib
import threading
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_void_p

from distributed import WorkerPlugin, get_worker, secede

ABI = 1
EVENTS = 0xFFFF_FFFF
"""What `Router.route` calls the events of the host."""
PLUGIN = "bench"


class Workload:
    """A workload opened from `libbench_workloads.so`: see bench_workloads.h for the rules."""

    def __init__(self, path, sha256, spec):
        with open(path, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != sha256:
            raise RuntimeError(f"{path} is not the library that the host uses: sha256 {found}, not {sha256}")
        self.call = declare(ctypes.CDLL(path))
        if self.call.bench_workloads_abi() != ABI:
            raise RuntimeError(f"{path} has ABI {self.call.bench_workloads_abi()}, not {ABI}")
        self.handle = self.checked(self.call.bench_workload_open(spec.encode()))

    def checked(self, pointer):
        return pointer or self.fail()

    def fail(self):
        raise RuntimeError(self.call.bench_last_error().decode(errors="replace"))

    def graph(self):
        return self.call.bench_workload_graph(self.handle).decode()


class Operator:
    """One instance of a chain of operators. One thread at a time."""

    def __init__(self, workload, nodes, instance, of):
        self.workload = workload
        array = (c_uint32 * len(nodes))(*nodes)
        new = workload.call.bench_operator_new
        self.handle = workload.checked(new(workload.handle, array, len(nodes), instance, of))

    def process(self, batch):
        return self.output(self.workload.call.bench_operator_process, batch, len(batch))

    def finish(self):
        return self.output(self.workload.call.bench_operator_finish)

    def output(self, function, *args):
        data, size = c_void_p(), c_size_t()
        if function(self.handle, *args, byref(data), byref(size)) != 0:
            self.workload.fail()
        return ctypes.string_at(data, size.value) if size.value else b""

    def __del__(self):
        if getattr(self, "handle", None):
            self.workload.call.bench_operator_free(self.handle)


class Router:
    """Knows where records go. Any thread."""

    def __init__(self, workload, parallelism):
        self.workload = workload
        self.handle = workload.checked(workload.call.bench_router_new(workload.handle, parallelism))

    def instances(self, node):
        return self.workload.call.bench_router_instances(self.handle, node)

    def route(self, node, batch, turn):
        """`(node, instance, bytes)` for everything that `node` wrote."""
        call = self.workload.call
        batches = self.workload.checked(call.bench_route(self.handle, node, batch, len(batch), turn))
        try:
            return [self.delivery(batches, index) for index in range(call.bench_batches_count(batches))]
        finally:
            call.bench_batches_free(batches)

    def delivery(self, batches, index):
        node, instance, data, size = c_uint32(), c_uint32(), c_void_p(), c_size_t()
        get = self.workload.call.bench_batches_get
        if get(batches, index, byref(node), byref(instance), byref(data), byref(size)) != 0:
            self.workload.fail()
        return node.value, instance.value, ctypes.string_at(data, size.value)


def declare(library):
    """Types of the functions used. ctypes lets go of the interpreter lock during each call."""
    output = [POINTER(c_void_p), POINTER(c_size_t)]
    for name, result, *args in [
        ("workloads_abi", c_uint32),
        ("last_error", c_char_p),
        ("workload_open", c_void_p, c_char_p),
        ("workload_graph", c_char_p, c_void_p),
        ("operator_new", c_void_p, c_void_p, POINTER(c_uint32), c_size_t, c_uint32, c_uint32),
        ("operator_process", c_int32, c_void_p, c_char_p, c_size_t, *output),
        ("operator_finish", c_int32, c_void_p, *output),
        ("operator_free", None, c_void_p),
        ("router_new", c_void_p, c_void_p, c_uint32),
        ("router_instances", c_uint32, c_void_p, c_uint32),
        ("route", c_void_p, c_void_p, c_uint32, c_char_p, c_size_t, c_uint32),
        ("batches_count", c_size_t, c_void_p),
        ("batches_get", c_int32, c_void_p, c_size_t, POINTER(c_uint32), POINTER(c_uint32), *output),
        ("batches_free", None, c_void_p),
    ]:
        function = getattr(library, f"bench_{name}")
        function.restype, function.argtypes = result, args
    return library


class OpenWorkload(WorkerPlugin):
    """Opens the workload once per worker process, and keeps the worker's stateless operators."""

    name = PLUGIN

    def __init__(self, path, sha256, spec):
        self.arguments = path, sha256, spec

    def setup(self, worker):
        self.workload = Workload(*self.arguments)
        self.lock = threading.Lock()
        # Per chain of nodes: operators that no task is using.
        self.idle = {}

    def apply(self, nodes, batch):
        with self.lock:
            idle = self.idle.setdefault(nodes, [])
            operator = idle.pop() if idle else None
        operator = operator or Operator(self.workload, nodes, 0, 1)
        try:
            return operator.process(batch)
        finally:
            with self.lock:
                idle.append(operator)

    def finish(self, nodes):
        with self.lock:
            return b"".join(operator.finish() for operator in self.idle.pop(nodes, []))


def prepare(chains, dask_worker):
    """Creates an operator of each chain in one worker for each of its threads."""
    plugin = dask_worker.plugins[PLUGIN]
    for nodes in chains:
        new = (Operator(plugin.workload, nodes, 0, 1) for _ in range(dask_worker.state.nthreads))
        plugin.idle[nodes] = list(new)


def apply(nodes, blocking, batch):
    """A task: a batch through a chain of stateless operators."""
    if blocking:
        # It will wait for the network, and Dask may use this thread's place meanwhile.
        secede()
    return get_worker().plugins[PLUGIN].apply(nodes, batch)


def finish(nodes, dask_worker):
    """Flushes what the tasks of a chain used in one worker."""
    return dask_worker.plugins[PLUGIN].finish(nodes)


class Instance:
    """An actor: one instance of a chain that keeps state."""

    def __init__(self, nodes, instance, of):
        self.operator = Operator(get_worker().plugins[PLUGIN].workload, nodes, instance, of)

    def process(self, batch):
        return self.operator.process(batch)

    def finish(self):
        return self.operator.finish()
