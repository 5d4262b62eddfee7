"""The whole of a driver: the phases of a run, for an engine that the stream serves or for a way of its own."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from bench_engine.channel import Channel, Refusal
from bench_engine.clocks import compare
from bench_engine.engine import Engine, Run
from bench_engine.graph import Json, cut
from bench_engine.stream import Stream
from bench_engine.warden import leave_a_warden
from bench_engine.workload import Workload


def run(make: Callable[[], Engine]) -> NoReturn:
    """Runs an engine, given its class, as the host asks. The last line of a driver."""
    # Not `asyncio.run`: when a run has failed it would cancel the runtime's own tasks and wait for them, and those of
    # a lost worker may never end. The process does.
    drive(lambda channel: asyncio.new_event_loop().run_until_complete(conduct(make(), channel)))


def drive(main: Callable[[Channel], None]) -> NoReturn:
    """As :func:`run` for an engine with a flow of its own: opens the channel, calls ``main``, says how that ended."""
    leave_a_warden()
    channel = Channel()
    try:
        main(channel)
        channel.done()
    except BaseException as error:
        channel.fatal(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing that a runtime left running may keep the process alive


async def conduct(engine: Engine, channel: Channel) -> None:
    """A run from start-up to teardown."""
    run = Run(channel)
    run.enters("start-up", f"{run.display} has not answered")
    await _perhaps(engine.start(run))
    run.enters("deploy", f"the workers of {run.display} have not opened the workload")
    workload = Workload(run.setup.library, run.setup.open)
    stages = cut(workload.graph, run.parallelism, run.id)
    await _perhaps(engine.deploy(stages))
    run.enters("warm-up", f"the workers of {run.display} have not answered their first calls")
    stream = Stream(engine, run, channel, workload, stages)
    await stream.warm_up()
    channel.clocks(await compare(engine.clocks()))
    await stream.run()
    channel.clocks(await compare(engine.clocks()))
    run.enters("teardown", f"{run.display} has not shut down")
    tally, more = stream.tally, dict(await _perhaps(engine.metrics()))
    if tally.events == run.config.get("total_items"):  # else the user cut it short
        _were_used(run, more.get("nodes", {}))
    facts: Json = {"phase_seconds": channel.phase_seconds(), **stream.counts.facts(), **more.pop(run.name, {})}
    channel.metrics({**tally.metrics(), run.name: facts, **more})
    if tally.results != tally.events:
        channel.log(f"{tally.events} queries went in, {tally.results} results came out", "warn")
    await _perhaps(engine.close())


def _were_used(run: Run, nodes: Json) -> None:
    used = sum(node["calls"] > 0 for node in nodes.values())
    if nodes and used < run.nodes:
        raise Refusal(
            f"the run was too small for {run.nodes} nodes: operators ran on {used}. Leave --nodes at {used}, or give "
            "it more to do (--num-tasks, --parallelism)",
            "unsupported",
        )


async def _perhaps(value: Any) -> Any:
    """What a method returned that may or may not be ``async``."""
    return await value if inspect.isawaitable(value) else value
