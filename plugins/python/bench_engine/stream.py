"""The stream: events to calls, what they return to further calls, and so on to the sink.

Batches come back here between stages, because routing needs one home and they are small. One thread owns everything:
the event loop's. Calls may overtake each other, since no operator relies on the order of its input; how many are under
way is bounded, and with that the memory.
"""

from __future__ import annotations

import asyncio
import collections
import inspect
import itertools
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bench_engine.channel import Channel, Refusal
from bench_engine.engine import MAKE_ANEW, Engine, Lost, Run
from bench_engine.graph import Json, Stage
from bench_engine.lanes import Call, Lane, Log, feeds_state, keeps_state
from bench_engine.tally import Tally
from bench_engine.workload import Delivery, Operator, Workload

STATE_TRIES = 5
"""How often a call without an answer of its own is made, whatever the retries: others' state is built from it. And how
often what was lost is made anew in a row."""


@dataclass
class Counts:
    """What was done, for the record."""

    calls: collections.Counter[str] = field(default_factory=collections.Counter)
    batches: collections.Counter[str] = field(default_factory=collections.Counter)
    lost: int = 0
    retried: int = 0
    given_up: int = 0
    restored: int = 0
    """Instances with state that were made anew."""

    def facts(self) -> Json:
        """As JSON. Fewer calls than batches: some waited and were joined."""
        lost = {"lost": self.lost, "retried": self.retried, "given_up": self.given_up, "restored": self.restored}
        return {"calls": dict(self.calls), "batches": dict(self.batches), "lost_calls": lost}


class Stream:
    """One run's, from its first event to the last answer."""

    def __init__(self, engine: Engine, run: Run, channel: Channel, workload: Workload, stages: list[Stage]) -> None:
        self._engine, self._run, self._channel, self._workload = engine, run, channel, workload
        self._stages = stages
        self._can_restore = type(engine).restore is not Engine.restore
        self._restores = run.retries > 0 and self._can_restore
        self._router = workload.router(run.parallelism)
        self._lanes = {(lane.stage.nodes[0], lane.instance): lane for stage in stages for lane in self._made(stage)}
        self._of = {stage: [lane for lane in self._lanes.values() if lane.stage is stage] for stage in stages}
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._turns = itertools.count()
        self._busy = [0] * run.parallelism
        """Calls under way by number of the instance."""
        self._load, self._room = 0, (engine.calls + engine.waiting) * run.parallelism
        self._room += sum(stage.concurrency for stage in stages if stage.concurrency > 1)  # they wait: no core is short
        self._arrived: collections.deque[bytes | None] = collections.deque()
        self._ended = False
        self._spare: dict[Stage, Operator] = {}
        self._restoring: set[asyncio.Future[None]] = set()
        self._waiters: ThreadPoolExecutor | None = None
        self.tally = Tally(workload.graph)
        self.counts = Counts()
        run.fail = lambda error: self._soon(self.fail, error)

    def _made(self, stage: Stage) -> list[Lane]:
        calls, graph = self._engine.calls, self._workload.graph
        ports = feeds_state(graph, stage)
        if not stage.stateful:
            return [Lane(stage, 0, calls * stage.instances, feeds_state=ports)]
        limit, keeps = max(calls, stage.concurrency), self._restores and keeps_state(graph, stage)
        return [
            Lane(stage, instance, limit, Log(self._run.dir) if keeps else None, ports)
            for instance in range(stage.instances)
        ]

    # ── From the first event to the last ─────────────────────────────────────────────────────────────

    async def warm_up(self) -> None:
        """Takes an empty batch through every instance: what starts late starts before the clock does."""
        for lane in self._lanes.values():
            for instance in [lane.instance] if lane.stage.stateful else range(lane.stage.instances):
                self._start(Call(lane, instance, b""))
        await self._until(lambda: not self._load)
        self.counts = Counts()

    async def run(self) -> None:
        """Until every event is answered, whatever fails meanwhile: waiting for one never hides the other."""
        watch = self._watch()
        self._read()
        await self._until(lambda: self._ended)
        for stage in self._stages:  # what is above has ended; a call's output is on its way before it counts as ended
            await self._until(lambda stage=stage: self._is_idle(stage))  # type: ignore[misc]
            for lane in self._of[stage] if stage.stateful else ():
                self._start(Call(lane, lane.instance, None))
            await self._until(lambda stage=stage: self._is_idle(stage))  # type: ignore[misc]
        if watch is not None:
            watch.cancel()

    def fail(self, error: BaseException) -> None:
        """Ends the run."""
        if self._failure is None:
            self._failure = error
            self._changed.set()

    def _watch(self) -> asyncio.Future[None] | None:
        watched = self._engine.watch()
        if watched is None:
            return None
        watch = asyncio.ensure_future(watched)

        def ended(watch: asyncio.Future[None]) -> None:
            if not watch.cancelled() and (error := watch.exception()) is not None:
                self.fail(error)

        watch.add_done_callback(ended)
        return watch

    def _read(self) -> None:
        ahead = threading.Semaphore(2)
        self._accepted = ahead.release

        def arrived(batch: bytes | None) -> None:
            if batch is not None:
                ahead.acquire()
            self._soon(self._take, batch)

        read(self._channel, arrived)

    def _soon(self, do: Callable[[Any], None], what: Any) -> None:
        """From another thread."""
        self._loop.call_soon_threadsafe(do, what)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._failure is None and not condition():
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def _is_idle(self, stage: Stage) -> bool:
        return all(lane.is_idle for lane in self._of[stage])

    # ── Events and batches on their way ──────────────────────────────────────────────────────────────

    def _take(self, batch: bytes | None) -> None:
        self._arrived.append(batch)
        self._guarded(self._take_on)

    def _take_on(self) -> None:
        """As many batches of events as there is room for."""
        while self._arrived and self._load < self._room:
            batch = self._arrived.popleft()
            if batch is None:
                self._ended = True
                self._changed.set()
                return
            self._accepted()
            self.tally.event_batch(batch)
            self._send(self._router.route_events(batch, next(self._turns)))

    def _send(self, deliveries: list[Delivery]) -> None:
        for node, instance, batch in deliveries:
            lane = self._lanes.get((node, instance)) or self._lanes.get((node, 0))
            if lane is None:
                self.tally.result_batch(batch)
                self._channel.emit(batch)
                continue
            lane.waiting.append(batch)
            self._load += 1
            self._call(lane)

    def _call(self, lane: Lane) -> None:
        """What waits at a lane, as far as there is room; but first, and each by itself, what was lost there."""
        while lane.lost and not lane.under_way and not lane.is_down and self._failure is None:
            call = lane.lost.popleft()
            self._load -= call.weight
            self.counts.retried += not call.given_up
            call.instance = self._place(lane)
            self._start(call)
        while lane.waiting and lane.under_way < lane.limit and not lane.lost and self._failure is None:
            batch, weight = lane.join()
            self._load -= weight
            self._start(Call(lane, self._place(lane), batch, weight))

    def _place(self, lane: Lane) -> int:
        """Without state: the instance whose number has least to do."""
        if lane.stage.stateful:
            return lane.instance
        return min(range(lane.stage.instances), key=self._busy.__getitem__)

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, call: Call) -> None:
        stage = call.lane.stage
        call.lane.under_way += 1
        self._load += call.weight
        self._busy[call.instance] += 1
        self.counts.calls[stage.name] += 1
        self.counts.batches[stage.name] += call.weight
        call.lane.begins(call)
        self._begin(call)

    def _begin(self, call: Call) -> None:
        stage = call.lane.stage
        try:
            if call.batch is None:
                future = self._engine.finish(stage, call.instance)
            else:
                future = self._engine.submit(stage, call.instance, call.batch)
            self._follow(call, future)
        except Exception as error:
            self._loop.call_soon(self._end, call, None, error)

    def _follow(self, call: Call, future: Any) -> None:
        if inspect.isawaitable(future):
            asyncio.ensure_future(future).add_done_callback(lambda done: self._done(call, done))
        elif hasattr(future, "add_done_callback"):
            future.add_done_callback(lambda done: self._soon(lambda done: self._done(call, done), done))
        else:
            if self._waiters is None:
                self._waiters = ThreadPoolExecutor(sum(lane.limit for lane in self._lanes.values()), "waiter")
            result = self._loop.run_in_executor(self._waiters, self._engine.result, future)
            result.add_done_callback(lambda done: self._done(call, done))

    def _done(self, call: Call, future: Any) -> None:
        try:
            output = future.result()
        except (Exception, asyncio.CancelledError) as error:
            self._end(call, None, error)
        else:
            self._end(call, output, None)

    def _end(self, call: Call, output: Any, error: BaseException | None) -> None:
        self._guarded(lambda: self._ends(call, output, error))

    def _ends(self, call: Call, output: Any, error: BaseException | None) -> None:
        lane = call.lane
        if call.replay is not None:
            call.replay.set_result((output, error))
            return
        lane.under_way -= 1
        self._load -= call.weight
        self._busy[call.instance] -= 1
        if error is not None:
            self._failed(call, error)
        else:
            if not isinstance(output, bytes):
                raise TypeError(f"a call of {lane.stage.name} returned {type(output).__name__} where bytes are due")
            self._forward(lane.stage, lane.answers(call, output))
        if lane.is_down and not lane.under_way:
            task = asyncio.ensure_future(self._restore(lane))
            self._restoring.add(task)
            task.add_done_callback(self._restoring.discard)
        self._call(lane)
        self._take_on()
        if lane.is_idle:
            self._changed.set()

    def _forward(self, stage: Stage, output: bytes) -> None:
        self._send(self._router.route(stage.nodes[-1], output, next(self._turns)))

    def _guarded(self, do: Callable[[], None]) -> None:
        """An event loop would only print what is raised here."""
        if self._failure is not None:
            return
        try:
            do()
        except BaseException as error:
            self.fail(error)

    # ── Calls that failed ────────────────────────────────────────────────────────────────────────────

    def _failed(self, call: Call, error: BaseException) -> None:
        kind = "" if isinstance(error, Lost) else type(error).__name__
        lane, what = call.lane, f"{kind}: {error}".strip(": ")
        stage = lane.stage
        if isinstance(error, Refusal):
            raise error
        if not self._is_loss(error):
            traceback.print_exception(error)
            raise Refusal(f"{self._ended_in}: a call of {stage.name}: {what}")
        if stage.stateful and not self._restores:
            lost = f"{self._ended_in}: a call of {stage.name} was lost, and what it had seen with it: {what}"
            raise Refusal(lost, remedy=MAKE_ANEW if self._can_restore else "")
        self.counts.lost += 1
        lane.is_down = stage.stateful
        builds_state = call.batch is None or lane.builds_state(call.batch)
        if call.attempt > (STATE_TRIES if builds_state else self._run.retries):
            if builds_state:
                raise Refusal(
                    f"{self._ended_in}: a call of {stage.name}, which others' state is built from, was lost "
                    f"{call.attempt} times: {what}"
                )
            if call.given_up:
                raise Refusal(f"{self._ended_in}: even the tombstones of a call of {stage.name} were lost: {what}")
            if not self._give_up(call, what):
                return
        else:
            call.attempt += 1
        self._load += call.weight
        lane.lost.append(call)

    def _give_up(self, call: Call, reason: str) -> bool:
        """Its records go on as tombstones. Whether to the operators of the stage: those with state have to see each.

        Else they go by the shortest way: the runtime just failed to carry the records. No operator is made here of one
        that is at home on another machine: it would want there what it reads.
        """
        assert call.batch is not None
        stage = call.lane.stage
        self.counts.given_up += 1
        self._channel.log(f"a call of {stage.name} is given up: {reason}", "warn")
        failed = self._workload.fail_input(stage.nodes[0], call.batch, f"lost: {reason}")
        if stage.stateful:
            call.batch, call.given_up, call.attempt = failed, True, 1
            return True
        if stage.affinity is not None:
            self._forward(stage, self._workload.fail(stage.nodes[-1], call.batch, f"lost: {reason}"))
            return False
        if (operator := self._spare.get(stage)) is None:
            operator = self._spare[stage] = self._workload.operator(stage.nodes)
        self._forward(stage, operator.process(failed))
        return False

    def _is_loss(self, error: BaseException) -> bool:
        return isinstance(error, (Lost, *self._engine.lost))

    @property
    def _ended_in(self) -> str:
        return f"the run failed in {self._run.display}"

    # ── Instances that were lost ─────────────────────────────────────────────────────────────────────

    async def _restore(self, lane: Lane) -> None:
        """A new instance is given what the one that was lost had seen; then calls go on."""
        name, failure = f"{lane.stage.name}/{lane.instance}", None
        self._channel.log(f"{name} was lost and is made anew", "warn")
        for _ in range(STATE_TRIES):
            try:
                failure = await self._restored(lane)
            except BaseException as error:
                return self.fail(error)
            if failure is None:
                break
        else:
            lost = f"{name} was lost {STATE_TRIES} times while it was made anew: {failure}"
            return self.fail(Refusal(f"{self._ended_in}: {lost}"))
        self.counts.restored += 1
        lane.is_down = False
        self._guarded(lambda: self._call(lane))

    async def _restored(self, lane: Lane) -> BaseException | None:
        """Nothing, unless it was lost once more."""
        try:
            made = self._engine.restore(lane.stage, lane.instance)
            if made is not None:
                await made
        except (Exception, asyncio.CancelledError) as error:
            if self._is_loss(error):
                return error
            raise
        for batch in lane.log.batches() if lane.log is not None else ():
            replay = self._loop.create_future()
            self._begin(Call(lane, lane.instance, batch, replay=replay))
            failure: BaseException | None = (await replay)[1]
            if failure is not None:
                if self._is_loss(failure):
                    return failure
                raise failure
        return None


def read(channel: Channel, put: Callable[[bytes | None], None]) -> None:
    """Gives each batch of events to ``put``, then ``None``, in a thread of its own. What goes wrong ends the run."""

    def every_batch() -> None:
        try:
            for batch in channel.events():
                put(batch)
            put(None)
        except BaseException as error:
            channel.fatal(error)

    threading.Thread(target=every_batch, name="events", daemon=True).start()
