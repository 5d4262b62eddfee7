"""Starting, joining and stopping Ray."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import ray

import bench_engine
import compat
from bench_engine import Json, Refusal

CPUS_PER_NODE = 8
"""More than the machine has: Ray's places, not its cores. Actors take hardly any of one."""
SHARE: Json = {"num_cpus": 0.01}
"""Of a CPU, for each actor and task: they take what they need whatever is said."""
OBJECT_STORE_BYTES = 256 << 20
JOIN_SECONDS = 45.0
"""More than Ray takes to join a cluster over any network, and less than it takes to give up."""
PLACE_SECONDS = 30.0
"""For the smallest of tasks on each node, before operators are placed there."""


@contextlib.contextmanager
def running(config: Json, fail: Callable[[BaseException], object]) -> Iterator[Json]:
    """Ray, up; facts about it."""
    scratch, nodes, address = config["dir"], int(config["nodes"]), config["options"]["ray_address"]
    quiet: Json = {"log_to_driver": False, "logging_level": "ERROR"}
    local: Json = {"object_store_memory": OBJECT_STORE_BYTES, "num_gpus": 0, "include_dashboard": False}
    cpus = max(CPUS_PER_NODE, int(config["parallelism"]))
    started: Any = None
    try:
        if address:
            _join(address, fail, runtime_env={"working_dir": _shipment(config)}, **quiet)
        elif nodes == 1:
            compat.start(cpus, scratch, **local, **quiet)
        else:
            started = compat.start_nodes(nodes, cpus, scratch, **local)
            compat.join_nodes(started, scratch, **quiet)
        # Ray puts a handler of its own in place. What is left after us, whoever stops us ends too.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        yield {"ray": ray.__version__, "address": address or "local"}
    finally:
        ray.shutdown()
        if started is not None:
            with contextlib.suppress(Exception):
                started.shutdown()


def _join(address: str, fail: Callable[[BaseException], object], **options: Any) -> None:
    remedy = "give the address that `ray start --head` printed, with port 6379 unless it was told another"
    if address != "auto":
        bench_engine.reach(address, "Ray's head", remedy)

    def why() -> Refusal:
        what = f"what listens at {address} has not answered as Ray's head for {JOIN_SECONDS:.0f} s"
        return Refusal(what, "unavailable", remedy)

    with bench_engine.deadline(JOIN_SECONDS, fail, why):
        try:
            ray.init(address=address, **options)
        except Exception as error:
            raise compat.not_joined(error, address) from error


def chosen(config: Json) -> list[str]:
    """The nodes to place operators on, as many as were asked for; none named where there is only one."""
    asked, address = int(config["nodes"]), config["options"]["ray_address"]
    if asked == 1 and not address:
        return []
    hosts = compat.hosts()
    if not address:  # nodes of our own, on this machine
        return sorted(hosts)[:asked]
    # One node for each machine: two of one machine are not two.
    nodes = {host: node for node, host in sorted(hosts.items(), reverse=True)}
    if len(nodes) < asked:
        raise Refusal(
            f"{asked} nodes were asked for, and the cluster at {address} has {len(nodes)} that can run operators: "
            f"{', '.join(sorted(nodes)) or 'none'}. Leave --nodes at {max(1, len(nodes))}",
            "unsupported",
        )
    chosen = {host: nodes[host] for host in sorted(nodes)[:asked]}
    _try(chosen, address)
    return list(chosen.values())


def _try(nodes: dict[str, str], address: str) -> None:
    """Runs the smallest of tasks on each: where there is no room, operators would be waited for without end."""

    def alive() -> int:  # Ray takes no function of C
        return os.getpid()

    probe = ray.remote(alive)
    calls = {host: probe.options(**compat.only_on(node), **SHARE).remote() for host, node in nodes.items()}
    ready, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=PLACE_SECONDS)
    if full := [host for host, call in calls.items() if call not in ready]:
        for call in calls.values():
            ray.cancel(call, force=True)
        raise Refusal(
            f"no task has started on {', '.join(full)} of the cluster at {address} for {PLACE_SECONDS:.0f} s: all its "
            f"CPUs are taken ({compat.cpus()})",
            "unavailable",
            "end what runs there, or give the nodes more with `ray start --num-cpus`",
        )
    ray.get(ready)


def _shipment(config: Json) -> str:
    """A folder with what workers need, for Ray to copy to its nodes."""
    here, folder = os.path.dirname(os.path.abspath(__file__)), os.path.join(config["dir"], "shipped")
    os.makedirs(folder)
    bench_engine.copy_package(folder)
    for name in os.listdir(here):
        if name.endswith(".py"):
            shutil.copy(os.path.join(here, name), folder)
    shutil.copy(config["library"], folder)
    return folder
