"""What of Dask, and of Python below it, is private. No other module touches such a thing.

`cargo xtask runtime-versions --backend dask` tries the oldest version that the plugin accepts, the newest and one
between.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from typing import Any

SEMAPHORES = f"bench-{os.getpid()}"


def name_semaphores() -> None:
    """Dask's queues to its workers are semaphores in /dev/shm. A prefix of our own tells them from others."""
    multiprocessing.current_process()._config["semprefix"] = f"/{SEMAPHORES}"  # type: ignore[attr-defined]


def forget_semaphores() -> None:
    """Their names are needed until the workers have opened them. Without, nothing stays whoever is killed."""
    for entry in os.scandir("/dev/shm"):
        if entry.name.startswith(f"sem.{SEMAPHORES}-"):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def says_that_its_worker_is_gone(error: RuntimeError) -> bool:
    """Whether an actor says so: it has no class of error for that."""
    return str(error).startswith("Worker holding Actor was lost")


def every_worker_runs(cluster: Any) -> bool:
    """Whether none of a cluster on this machine is being started."""
    nannies = cluster.workers.values()
    return all(nanny.process is not None and nanny.process.status.name == "running" for nanny in nannies)


def forget_worker(client: Any, address: str) -> None:
    """Ends what the client asks of a worker that is gone: it would try to connect for half a minute, for results that
    are made again elsewhere."""
    client.rpc.remove(address)
