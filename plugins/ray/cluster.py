"""Starting, joining and stopping Ray."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import ray

import bench_engine
import compat
from bench_engine import Json, Refusal

CPUS_PER_NODE = 8
"""More than the machine has: Ray's places, not its cores. Actors take hardly any of one."""
OBJECT_STORE_BYTES = 256 << 20
SHIPPED = ("workers.py", "plan.py", "naive.py")
"""What workers on other machines import besides the SDK."""


@contextlib.contextmanager
def running(config: Json) -> Iterator[Json]:
    """Ray, up; facts about it."""
    scratch, nodes, address = config["dir"], int(config["nodes"]), config["options"]["ray_address"]
    quiet: Json = {"log_to_driver": False, "logging_level": "ERROR"}
    local: Json = {"object_store_memory": OBJECT_STORE_BYTES, "num_gpus": 0, "include_dashboard": False}
    cpus = max(CPUS_PER_NODE, int(config["parallelism"]))
    started: Any = None
    try:
        if address:
            ray.init(address=address, runtime_env={"working_dir": _shipment(config)}, **quiet)
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


def chosen(config: Json) -> list[str]:
    """The nodes to place operators on, as many as were asked for; none named where there is only one."""
    asked, address = int(config["nodes"]), config["options"]["ray_address"]
    if asked == 1 and not address:
        return []
    alive = sorted(compat.alive())
    if len(alive) < asked:
        raise Refusal(
            f"{asked} nodes were asked for, and of the cluster at {address or 'this machine'} {len(alive)} can run "
            f"operators: --nodes {max(1, len(alive))}",
            "unsupported",
        )
    return alive[:asked]


def _shipment(config: Json) -> str:
    """A folder with what workers need, for Ray to copy to its nodes."""
    here, folder = os.path.dirname(os.path.abspath(__file__)), os.path.join(config["dir"], "shipped")
    os.makedirs(folder)
    bench_engine.copy_package(folder)
    for name in SHIPPED:
        shutil.copy(os.path.join(here, name), folder)
    shutil.copy(config["library"], folder)
    return folder
