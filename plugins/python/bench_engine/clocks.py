"""Workers' clocks, held against the driver's: the monotonic clocks of two machines have nothing in common. And what the
workers have used so far: those of a cluster are in no account of the host's.

Spans carry the time of the worker that stamped them. The host moves them to its own clock by what is told here, at
deploy and at the end; what it is not told of, it does not know.
"""

from __future__ import annotations

import inspect
import os
import resource
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bench_engine.graph import Json

ROUNDS = 20
"""Questions to a clock that is not the driver's. The answer that was there soonest counts."""


class Reading(NamedTuple):
    """A process, where its threads and its clock are counted, what the clock shows, and what it has used by then."""

    host: str
    boot: str
    time: str
    pids: str
    process: int
    threads: tuple[int, ...]
    read_ns: int
    usage: Json

    @property
    def clock(self) -> tuple[str, str]:
        """Whose it is: processes with the same one need no comparison."""
        return self.boot, self.time


def read() -> Reading:
    """Of this process."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    return Reading(
        host=os.uname().nodename,
        boot=boot,
        time=_namespace("time"),
        pids=_namespace("pid"),
        process=os.getpid(),
        threads=tuple(map(int, os.listdir("/proc/self/task"))),
        read_ns=time.monotonic_ns(),
        usage=_usage(),
    )


def _usage() -> Json:
    """What this process has used so far, and its machine."""
    with open("/proc/stat") as file:
        lines = file.read().splitlines()
    user, nice, system, _idle, _iowait, irq, softirq = map(int, lines[0].split()[1:8])
    return {
        "cpu_ns": time.process_time_ns(),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "machine_busy_ns": (user + nice + system + irq + softirq) * (10**9 // os.sysconf("SC_CLK_TCK")),
        "machine_cores": sum(line.startswith("cpu") for line in lines) - 1,
    }


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{name}")
    except OSError:
        return ""


async def compare(asks: Sequence[Callable[[], Any]], now: Callable[[], int] = time.monotonic_ns) -> Json | None:
    """What to tell the host of these workers; nothing, if there are none.

    Each of ``asks`` asks one process for :func:`read`, and may be ``async``.
    """
    here = read()
    compared: set[tuple[str, str]] = {here.clock}
    workers: list[Json] = []
    for ask in asks:
        try:
            rounds = [await _round(ask, now)]
            if (clock := rounds[0][1].clock) not in compared:
                rounds += [await _round(ask, now) for _ in range(ROUNDS)]
                compared.add(clock)
        except Exception:  # one that is gone cannot be asked, and the others can
            traceback.print_exc()
            continue
        sent, reading, received = min(rounds, key=lambda one: one[2] - one[0])
        workers.append({**reading._asdict(), "sent_ns": sent, "received_ns": received})
    if not workers:
        return None
    return {"driver": {"boot": here.boot, "time": here.time}, "workers": workers}


async def _round(ask: Callable[[], Any], now: Callable[[], int]) -> tuple[int, Reading, int]:
    sent = now()
    answer = ask()
    reading = await answer if inspect.isawaitable(answer) else answer
    return sent, Reading(*reading), now()
