"""What of Ray is private, experimental, or differs between the versions that the plugin accepts.

No other module touches such a thing. `cargo xtask runtime-versions --backend ray` tries the oldest version, the newest
and one between.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Callable, Collection
from typing import Any

import ray
from ray import exceptions

from bench_engine import Json, Refusal
from transport import Death, Failure

# Ray 2.9 knows one kind of loss: there an actor that cannot be reached for a while counts as dead.
UNAVAILABLE: Any = getattr(exceptions, "ActorUnavailableError", ())

FAST_FAILURE_DETECTION = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
"""Of the head's `_system_config`."""


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────────


def failure_of(error: BaseException) -> Failure:
    """What an error of a call tells. Ray wraps what a task raised."""
    inner = error.cause if isinstance(error, exceptions.RayTaskError) else error
    cause = inner if isinstance(inner, BaseException) else error
    death = None
    if isinstance(cause, exceptions.RayActorError):
        death = Death(_hex(getattr(cause, "actor_id", None)), isinstance(cause, UNAVAILABLE))
    return Failure(cause, death, isinstance(cause, exceptions.ObjectLostError))


def _hex(actor: Any) -> str | None:
    """An actor's id: Ray gives it as text, as an id, or, in some errors of a creation task, not at all."""
    if actor is None or isinstance(actor, str):
        return actor
    return str(actor.hex())


def actor_id(actor: Any) -> str:
    """The id of an actor, from its handle."""
    return str(actor._actor_id.hex())


# ── Joining ──────────────────────────────────────────────────────────────────────────────────────────


def not_joined(error: BaseException, address: str) -> Refusal:
    """Why a cluster cannot be joined, from what `ray.init` raised. Ray tells the causes apart by words only."""
    words = " ".join(str(each) for each in _chain(error)).replace("\n", " ")
    at = f"the Ray cluster at {address}"
    if re.search("version mismatch|matching Ray version|has version .* but", words, re.IGNORECASE):
        found = re.findall(r"Ray: (\S+).*?Python: (\S+)", words)
        versions = " and ".join(f"Ray {ray_} on Python {python}" for ray_, python in dict.fromkeys(found))
        return Refusal(
            f"{at} has another version than this bench uses: {versions or words}",
            "unavailable",
            "install the cluster's version into an environment and set BENCH_PYTHON_RAY to its python",
        )
    if re.search("unauthenticated|authentication|auth_?token|token auth", words, re.IGNORECASE):
        return Refusal(
            f"{at} does not accept the token, or wants none: {_last(error)}",
            "unavailable",
            "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file with the cluster's token, or RAY_AUTH_MODE="
            "disabled where it has none",
        )
    if re.search("No node info found|can ?not find the matched Raylet|expects this IP|find node", words):
        return Refusal(
            f"this machine is no node of {at}",
            "unavailable",
            f"ray start --address={address}    (or run bench on a node of it)",
        )
    if address == "auto" and re.search("any running Ray instance", words):
        return Refusal(
            "ray_address=auto joins the Ray cluster of this machine, and none runs here",
            "unavailable",
            "ray start --head    (or leave ray_address out: bench then starts Ray itself)",
        )
    return Refusal(f"{at} cannot be joined: {_last(error)}", "unavailable", "see the logs of the cluster")


def _chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_chain(error.__cause__ or error.__context__)]


def _last(error: BaseException) -> str:
    """The first line of the first cause."""
    cause = _chain(error)[-1]
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else ''}"


# ── Nodes ────────────────────────────────────────────────────────────────────────────────────────────


def start(cpus: int, scratch: str, **options: Any) -> None:
    """A Ray of our own with one node, and its files below `scratch`."""
    ray.init(address="local", num_cpus=cpus, _temp_dir=scratch, **options)


def start_nodes(nodes: int, cpus: int, scratch: str, **options: Any) -> Any:
    """A head without CPUs and so many nodes on this machine, not joined yet.

    The driver is at home on the head, so a killed node never takes the driver's objects with it.
    """
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=0, temp_dir=scratch, _system_config=FAST_FAILURE_DETECTION, **options)
    for _ in range(nodes):
        cluster.add_node(num_cpus=cpus, temp_dir=scratch, wait=False, **options)
    cluster.wait_for_nodes()
    return cluster


def join_nodes(cluster: Any, scratch: str, **options: Any) -> None:
    """The driver joins what `start_nodes` made."""
    ray.init(address=cluster.address, _temp_dir=scratch, **options)


def at_home_on(node: str) -> Json:
    """For the options of an actor: a node, which it leaves only if that dies."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}


def only_on(node: str) -> Json:
    """For the options of a task: a node, and no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def cpus() -> str:
    """How many of the cluster's are free."""
    free, all_ = (get().get("CPU", 0.0) for get in (ray.available_resources, ray.cluster_resources))
    return f"{free:g} of {all_:g} are free in all"


def alive() -> set[str]:
    """Nodes alive that can run operators."""
    return set(hosts())


def hosts() -> dict[str, str]:
    """Nodes alive that can run operators, and the machines that they are on."""
    able = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return {node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in able}


# ── Compiled graphs ──────────────────────────────────────────────────────────────────────────────────


def need_compiled_graphs() -> None:
    """Refuses a Ray without them, before anything is started for them."""
    from ray.dag import DAGNode

    compile_it = getattr(DAGNode, "experimental_compile", None)
    wanted = {"_buffer_size_bytes", "_max_inflight_executions"}
    if compile_it is None or not wanted <= inspect.signature(compile_it).parameters.keys():
        raise Refusal(
            "ray_mode=compiled needs compiled graphs as Ray 2.40 and later have them, and this is Ray "
            f"{ray.__version__}: leave ray_mode at actors",
            "unsupported",
        )


def compile_graph(end: Any, buffer_bytes: int, in_flight: int) -> Any:
    """Compiles the graph that ends in `end`."""
    return end.experimental_compile(_buffer_size_bytes=buffer_bytes, _max_inflight_executions=in_flight)


SEMAPHORE = re.compile(r"sem\.(?:hdr|obj)(\d+)-\d+")


def semaphores() -> set[str]:
    """The names of compiled graphs' semaphores on this machine."""
    return {name for name in os.listdir("/dev/shm") if SEMAPHORE.fullmatch(name)}


def unlink_semaphores(whose: Callable[[int], bool], but: Collection[str] = ()) -> None:
    """Removes the names of a compiled graph's semaphores, by the process id of the raylet that made them."""
    for entry in os.scandir("/dev/shm"):
        named = SEMAPHORE.fullmatch(entry.name)
        if named and entry.name not in but and whose(int(named[1])):
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == os.getuid():
                    os.unlink(entry.path)
