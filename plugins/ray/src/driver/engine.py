"""Runs the plan on actors: chains object references, recovers from lost workers.

The main thread owns everything here. Ray reports completions from its own threads; they only put a closure on
`events`, the queue that also carries the input, so there are no locks and no polling.

Recovery is end to end. A batch of events is the unit: it is submitted as one chain of calls, and if a worker dies
the chain is submitted again. A synchronous actor runs its calls in order, so of the calls lost with a worker only
the oldest was running: that one is charged with the failure, the others go again free of charge.
"""

from __future__ import annotations

import collections
import itertools
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from bench_worker import DATA, HEARTBEAT, Json, Refusal, Tally, Workload, answered_sources, extents

import compat
import workers
from plan import Plan, Stage
from workers import Head, KeysRewritten, StateLost

IN_FLIGHT = 64
"""Batches of events that may be under way before the center: more would only wait in Ray's queues."""
REFS_PER_CALL = 64
"""Most references that a replay puts into one call."""
FREE_TRIES = 20
"""How often something is repeated free of charge, because it was lost with something else."""
DOCUMENT_TRIES = 5
"""A document has no answer of its own, so losing it would make answers wrong: it goes again, whatever the retries."""
RESTART_SECONDS = 60.0
"""How long an actor that died may take to come back before the run is given up."""


@dataclass(eq=False)
class Life:
    """One process of one actor: the calls that depend on it, and those it took with it."""

    instance: Instance
    users: set[Call] = field(default_factory=set)
    lost: list[Call] = field(default_factory=list)
    back: bool = False
    """The next process has answered."""
    innocent: bool = False
    """Nothing was running when it ended, as far as is known: nobody is charged."""


@dataclass(eq=False)
class Instance:
    """One actor."""

    stage: Stage
    index: int
    actor: Any
    node: str = ""
    pid: int = 0
    up: bool = True
    documents_sent: int = 0
    life: Life = field(init=False)

    def __post_init__(self) -> None:
        self.life = Life(self)


@dataclass
class Home:
    """A node that has operators, or had."""

    host: str
    processes: set[int] = field(default_factory=set)
    operators: int = 0


@dataclass(eq=False)
class Batch:
    """Events from the host, as deliveries for the front."""

    number: int
    entries: list[tuple[int, bytes]]
    wants: set[int]
    """Sequence numbers of the queries in it."""
    charged: int = 0
    free: int = 0
    given_up: int = 0
    """How often: first its records go again as tombstones, then past the front."""


@dataclass(eq=False)
class Call:
    """Something submitted that can be lost."""

    order: int
    lives: list[Life]
    again: Callable[[], None]
    """Submits it again, free of charge."""
    charge: Callable[[str], None]
    """It was the one running: count a failure, then again or give up."""
    batch: Batch | None = None


@dataclass(eq=False)
class Document:
    """An entry of the log of documents."""

    entries: list[tuple[int, bytes]]
    origin: int = 0
    data: Any = b""
    tries: int = 0


class Engine:
    """See the module."""

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        stages: dict[str, list[Any]],
        retries: int,
        events: queue.SimpleQueue[Any],
        emit: Callable[[bytes], None],
        log: Callable[[str], None],
    ) -> None:
        self.plan, self.workload, self.retries = plan, workload, retries
        self.events, self.emit, self.log = events, emit, log
        self.router = workload.router(plan.parallelism)
        self.tally = Tally(plan.graph)
        self.answered = set(answered_sources(plan.graph))
        self.instances = {
            stage: [Instance(stage, i, actor) for i, actor in enumerate(stages[stage.name])] for stage in plan.stages
        }
        self.everyone = [instance for some in self.instances.values() for instance in some]
        self.homes: dict[str, Home] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.calls: collections.Counter[str] = collections.Counter()
        """By node."""
        self.documents: list[Document] = []
        self.batches: dict[int, Batch] = {}
        self.open: set[int] = set()
        self.turn, self.order, self.next_number = itertools.count(), itertools.count(), 0
        self.held: dict[int, tuple[Batch, list[tuple[int, Any]]]] = {}
        self.generation = 0
        self.released: set[int] = set()
        self.finishing: set[object] = set()
        self.waiting: collections.deque[Batch] = collections.deque()
        self.predict_keys = True
        self.input_ended = self.flushing = self.flushed = False
        self.flush_tries = 0

    # ── What the main loop asks ──────────────────────────────────────────────────────────────────────

    @property
    def has_room(self) -> bool:
        """Whether another batch of events may enter."""
        return len(self.batches) + len(self.finishing) < IN_FLIGHT and not self.waiting

    @property
    def drained(self) -> bool:
        """Whether everything is answered and flushed."""
        return self.flushed and not self.finishing

    def accept(self, events: bytes) -> None:
        """Takes a batch of events."""
        self.tally.event_batch(events)
        documents, queries = [], []
        for node, instance, part in self.router.route_events(events, next(self.turn)):
            stage = self.plan.by_node[node]
            if stage in self.plan.side:
                documents.append((node, part))
            elif stage.broadcast and self._is_broadcast(node, part):
                documents += [(node, part)] if instance == 0 else []
            else:
                queries.append((node, part))
        if documents:
            self._submit_document(Document(documents), len(self.documents))
        if queries:
            batch = Batch(self.next_number, queries, self._wanted(events))
            self.next_number += 1
            self.open |= batch.wants
            self.batches[batch.number] = batch
            self._submit(batch)

    def end_of_input(self) -> None:
        """No more events will come."""
        self.input_ended = True
        self._flush_when_ready()

    def _wanted(self, events: bytes) -> set[int]:
        wanted = set()
        for at, _ in extents(events):
            if events[at + 4] in self.answered and events[at + 5] != HEARTBEAT:
                wanted.add(_seq(events, at))
        return wanted

    def _is_broadcast(self, node: int, part: bytes) -> bool:
        ports = {e["to_port"] for e in self.plan.graph["edges"] if e["to"] == node and e["partition"] == "broadcast"}
        return part[4] in ports

    # ── Documents ────────────────────────────────────────────────────────────────────────────────────

    def _submit_document(self, document: Document, position: int) -> None:
        """Through the side stages; what comes out is entry `position` of the log."""
        if position == len(self.documents):
            self.documents.append(document)
        if not self.plan.side:
            ((node, document.data),) = document.entries
            document.origin = ~node
            return
        inputs = {stage: [(~n, d) for n, d in document.entries if n in stage.nodes] for stage in self.plan.side}
        lives, data = [], None
        for stage in self.plan.side:
            given = inputs[stage] + [(before.exit, data) for before in self.plan.side if _feeds(before, stage)]
            instance = self._pick(stage, next(self.turn))
            if instance is None:
                return self._later(lambda: self._submit_document(document, position))
            data = self._call(instance, Head(tuple(o for o, _ in given)), [d for _, d in given])
            lives.append(instance.life)
        document.origin, document.data = self.plan.side[-1].exit, data
        document.tries += 1

        def again() -> None:
            self._submit_document(document, position)

        def charge(reason: str) -> None:
            if document.tries < DOCUMENT_TRIES:
                self.counts["retried"] += 1
                return again()
            self.counts["lost_documents"] += 1
            failed = [(n, self.workload.fail(n, part, reason)) for n, part in document.entries]
            document.origin, document.data = failed[0]

        def done(value: Any, error: BaseException | None) -> None:
            if error is not None and not self._lost_with_worker(call, error):
                charge(_said(error))
            self._settle(call)

        call = self._register(Call(next(self.order), lives, again, charge))
        self._watch(data, done)

    def _news_for(self, instance: Instance) -> tuple[int, list[Document]]:
        """The documents that an instance was not sent yet, and the position of the first."""
        while len(self.documents) - instance.documents_sent > REFS_PER_CALL:
            first, news = instance.documents_sent, self.documents[instance.documents_sent :][:REFS_PER_CALL]
            instance.documents_sent += len(news)
            head = Head(tuple(d.origin for d in news), len(news), first)
            self._call(instance, head, [d.data for d in news])  # a loss shows at the next query
        first, news = instance.documents_sent, self.documents[instance.documents_sent :]
        instance.documents_sent = len(self.documents)
        return first, news

    # ── A batch through the front ────────────────────────────────────────────────────────────────────

    def _pick(self, stage: Stage, turn: int) -> Instance | None:
        live = [instance for instance in self.instances[stage] if instance.up]
        return live[turn % len(live)] if live else None

    def _call(self, instance: Instance, head: Head, data: list[Any]) -> Any:
        self.calls[instance.node] += 1
        return instance.actor.run.remote(head, *data)

    def _submit(self, batch: Batch) -> None:
        self.held.pop(batch.number, None)
        if batch.given_up > 1:
            return self._past_the_front(batch)
        chosen = self._choose(batch)
        if chosen is None:
            self.waiting.append(batch)
            return
        path, written = self._through_front(batch.entries, chosen, finish=False)
        self._enter_center(batch, written, path)

    def _choose(self, batch: Batch) -> dict[Stage, list[Instance]] | None:
        """The instances that a batch passes; none if one that it needs is down."""
        turn = next(self.turn)
        chosen: dict[Stage, list[Instance]] = {}
        for stage in self.plan.front:
            if stage.keyed:
                partitions = self._partitions(stage, batch)
                some = [self.instances[stage][i] for i in partitions]
            else:
                some = [found] if (found := self._pick(stage, turn)) else []
            if not some or not all(instance.up for instance in some):
                return None
            chosen[stage] = some
        if self.plan.center and not self.instances[self.plan.center][0].up:
            return None
        return chosen

    def _partitions(self, stage: Stage, batch: Batch) -> list[int]:
        if not self.predict_keys or stage.instances == 1:
            return list(range(stage.instances))
        edge = stage.keyed[0]
        found = set()
        for _, part in batch.entries:
            routed = self.router.route(edge["from"], _with_port(part, edge["from_port"]), 0)
            found |= {instance for node, instance, _ in routed if node == edge["to"]}
        return sorted(found)

    def _through_front(
        self, entries: list[tuple[int, bytes]], chosen: dict[Stage, list[Instance]], finish: bool
    ) -> tuple[list[Instance], list[tuple[int, Any]]]:
        """Submits the calls. Returns the instances passed and what the last ones wrote."""
        written: dict[int, list[Any]] = {}
        path: list[Instance] = []
        for stage in self.plan.front:
            given = [(~node, data) for node, data in entries if node in stage.nodes]
            for origin in dict.fromkeys(e["from"] for e in stage.inputs if e["partition"] != "broadcast"):
                given += [(origin, data) for data in written.get(origin, [])]
            flush = finish and stage.state != "none"
            if not given and not flush:
                continue
            instances = chosen[stage]
            partitions = tuple(i.index for i in instances) if stage.keyed and len(instances) < stage.instances else None
            for number, instance in enumerate(instances):
                first, news = self._news_for(instance) if stage.broadcast else (0, [])
                mine = given if number == 0 or stage.keyed else []
                origins = (*(d.origin for d in news), *(origin for origin, _ in mine))
                head = Head(origins, len(news), first, partitions, finish=flush)
                data = self._call(instance, head, [*(d.data for d in news), *(data for _, data in mine)])
                written.setdefault(stage.exit, []).append(data)
                path.append(instance)
        last = self.plan.front[-1] if self.plan.center is None else None
        ends = {e["from"] for e in (self.plan.center.inputs if self.plan.center else [])} or {last.exit if last else 0}
        return path, [(origin, data) for origin in sorted(ends) for data in written.get(origin, [])]

    # ── The center and what follows ──────────────────────────────────────────────────────────────────

    def _enter_center(self, batch: Batch, inputs: list[tuple[int, Any]], path: list[Instance]) -> None:
        lives = [instance.life for instance in path]
        if self.plan.center is None:
            call = self._register(self._batch_call(batch, lives))
            self._watch_all([d for _, d in inputs], lambda values, error: self._left_front(call, inputs, values, error))
            return
        center = self.instances[self.plan.center][0]
        self.held[batch.number] = (batch, inputs)
        head = Head(tuple(origin for origin, _ in inputs), generation=self.generation)
        out, note = self._center_call(center, head, [data for _, data in inputs])
        call = self._register(self._batch_call(batch, [*lives, center.life]))
        self._watch(note, lambda seqs, error: self._left_center(call, out, seqs, error))

    def _center_call(self, center: Instance, head: Head, data: list[Any]) -> tuple[Any, Any]:
        self.calls[center.node] += 1
        return center.actor.run_center.options(num_returns=2).remote(head, *data)

    def _batch_call(self, batch: Batch, lives: list[Life]) -> Call:
        return Call(
            next(self.order), lives, lambda: self._free(batch), lambda reason: self._charge(batch, reason), batch
        )

    def _left_front(self, call: Call, inputs: list[tuple[int, Any]], values: list[bytes], error: Any) -> None:
        if error is not None:
            return self._chain_failed(call, error)
        self._settle(call)
        assert call.batch is not None
        self.batches.pop(call.batch.number, None)
        for (origin, _), value in zip(inputs, values):
            self._to_sink(origin, value)
        self._flush_when_ready()

    def _left_center(self, call: Call, out: Any, seqs: list[int], error: Any) -> None:
        if error is not None:
            return self._chain_failed(call, error)
        self._settle(call)
        if call.batch is not None:
            self.batches.pop(call.batch.number, None)
        self._finish(out, seqs)
        self._flush_when_ready()

    def _finish(self, out: Any, seqs: list[int]) -> None:
        """Takes what the center released through the tail."""
        fresh = [seq for seq in seqs if seq not in self.released]
        if fresh:
            self.released.update(fresh)
            self._finish_try(out, seqs, object(), 0, 0)

    def _finish_try(self, out: Any, seqs: list[int], key: object, charged: int, free: int) -> None:
        self.finishing.add(key)
        turn = next(self.turn)
        path = [self._pick(stage, turn) for stage in self.plan.tail]
        if not all(path):
            return self._later(lambda: self._finish_try(out, seqs, key, charged, free))
        assert self.plan.center is not None
        origin, data = self.plan.center.exit, out
        for instance in path:
            assert instance is not None
            data = self._call(instance, Head((origin,)), [data])
            origin = instance.stage.exit

        def again() -> None:
            self._too_often(free, "what the center released")
            self._finish_try(out, seqs, key, charged, free + 1)

        def charge(reason: str) -> None:
            if charged < self.retries:
                self.counts["retried"] += 1
                return self._finish_try(out, seqs, key, charged + 1, free)
            self._fail_tail(out, key, reason)

        def done(value: Any, error: BaseException | None) -> None:
            if error is None:
                self.finishing.discard(key)
                self._to_sink(origin, value)
                self._flush_when_ready()
            elif compat.object_was_lost(error):
                self.finishing.discard(key)
                self.released.difference_update(seqs)
                self._restart_center("what it had released was lost with a node")
            elif not self._lost_with_worker(call, error):
                charge(_said(error))
            self._settle(call)

        call = self._register(Call(next(self.order), [i.life for i in path if i], again, charge))
        self._watch(data, done)

    def _fail_tail(self, out: Any, key: object, reason: str) -> None:
        """Tombstones for what the center released and the tail could not finish."""

        def failed(value: Any, error: BaseException | None) -> None:
            if error is not None:
                raise Refusal(f"what the center released was lost, and {reason}")
            assert self.plan.center is not None
            self.finishing.discard(key)
            for node, _, part in self.router.route(self.plan.center.exit, value, 0):
                self._to_sink(self.plan.tail[-1].exit, self.workload.fail(node, part, reason))
            self.log(f"what {self.plan.center.name} released is given up: {reason}")
            self._flush_when_ready()

        self._watch(out, failed)

    def _to_sink(self, origin: int, value: bytes) -> None:
        """Delivers each result once."""
        for _, _, part in self.router.route(origin, value, 0):
            fresh = []
            for at, end in extents(part):
                if part[at + 5] != HEARTBEAT and (seq := _seq(part, at)) in self.open:
                    self.open.discard(seq)
                    self.counts["tombstones"] += part[at + 5] != DATA
                    fresh.append(part[at:end])
            batch = b"".join(fresh)
            self.tally.result_batch(batch)
            self.emit(batch)

    # ── The end of the stream ────────────────────────────────────────────────────────────────────────

    def _flush_when_ready(self) -> None:
        if not self.input_ended or self.batches or self.flushing or self.flushed:
            return
        front = [i for stage in self.plan.front for i in self.instances[stage]]
        center = self.instances[self.plan.center] if self.plan.center else []
        if not all(instance.up for instance in [*front, *center]):
            return self._later(self._flush_when_ready)
        self.flushing = True
        self.flush_tries += 1
        if self.flush_tries > FREE_TRIES:
            raise Refusal("workers kept dying while the end of the stream was flushed")
        chosen = {s: self.instances[s] if s.state != "none" else self.instances[s][:1] for s in self.plan.front}
        path, inputs = self._through_front([], chosen, finish=True)
        again = Call(next(self.order), [i.life for i in [*path, *center]], self._flush_again, lambda _: self._flush_again())
        call = self._register(again)

        def done(out: Any, seqs: list[int], error: Any) -> None:
            if error is not None:
                if not self._lost_with_worker(call, error):
                    if isinstance(cause := compat.cause_of(error), StateLost):
                        self._state_lost(call, cause)
                    self._later(self._flush_again)
                return self._settle(call)
            self._settle(call)
            self.flushed = True
            if self.plan.center:
                self._finish(out, seqs)
            else:
                for (origin, _), value in zip(inputs, out):
                    self._to_sink(origin, value)

        if center:
            head = Head(tuple(o for o, _ in inputs), generation=self.generation, finish=True)
            out, note = self._center_call(center[0], head, [d for _, d in inputs])
            self._watch(note, lambda seqs, error: done(out, seqs, error))
        else:
            self._watch_all([d for _, d in inputs], lambda values, error: done(values, [], error))

    def _flush_again(self) -> None:
        self.flushing = False
        self._flush_when_ready()

    # ── Recovery ─────────────────────────────────────────────────────────────────────────────────────

    def _register(self, call: Call) -> Call:
        for life in call.lives:
            life.users.add(call)
        return call

    def _settle(self, call: Call) -> None:
        for life in call.lives:
            life.users.discard(call)
            self._over(life)

    def _lost_with_worker(self, call: Call, error: BaseException) -> bool:
        """If the error is a worker's death, notes whose, and says so."""
        death = compat.death_of(error)
        if death is None:
            return False
        life = next((life for life in call.lives if compat.actor_id(life.instance.actor) == death.actor), None)
        if life is None:  # a document's maker, or that of a replayed input, died: it is made again
            self._later(call.again)
            return True
        if death.unavailable:
            self.counts["unavailable"] += 1
        life.lost.append(call)
        self._down(life)
        return True

    def _chain_failed(self, call: Call, error: BaseException) -> None:
        batch, cause = call.batch, compat.cause_of(error)
        if batch is None:  # a replay: its batches go one by one, and show what is wrong
            if not self._lost_with_worker(call, error):
                call.again()
        elif self._lost_with_worker(call, error):
            pass
        elif isinstance(cause, StateLost):
            self._state_lost(call, cause)
        elif isinstance(cause, KeysRewritten):
            self.predict_keys = False
            self._submit(batch)
        elif compat.object_was_lost(error):
            self._free(batch)
        else:  # the operator itself refused: trying again would not help
            self._give_up(batch, _said(error))
        self._settle(call)

    def _state_lost(self, call: Call, cause: Any) -> None:
        self.counts["replays"] += 1
        life = next((life for life in call.lives if life.instance.stage.name == cause.stage), None)
        if life is not None and self.plan.center and cause.stage == self.plan.center.name:
            life.lost.append(call)
            life.innocent = True
            return self._down(life)
        if life is not None:
            life.instance.documents_sent = min(life.instance.documents_sent, cause.position)
        if call.batch is not None:
            self._free(call.batch)

    def _down(self, life: Life) -> None:
        instance = life.instance
        if instance.life is life:
            instance.life, instance.up, instance.documents_sent = Life(instance), False, 0
            self.counts["deaths"] += 1
            self.log(f"{instance.stage.name}/{instance.index} (process {instance.pid}) died; Ray restarts it")
            self._probe(life, time.monotonic() + RESTART_SECONDS)

    def _probe(self, life: Life, deadline: float) -> None:
        def answered(value: Any, error: BaseException | None) -> None:
            if error is not None:
                if time.monotonic() > deadline:
                    raise Refusal(f"Ray did not restart {life.instance.stage.name} within {RESTART_SECONDS:.0f} s")
                return self._later(lambda: self._probe(life, deadline))
            life.back = True
            self.moved_in(life.instance, value)
            if life.instance.stage is not self.plan.center:
                life.instance.up = True
                self._resume()
            self._over(life)

        self._watch(life.instance.actor.ready.remote(), answered)

    def _over(self, life: Life) -> None:
        """Once the next process runs and every call of the old one is settled, deals with what was lost."""
        if not life.back or life.users:
            return
        life.back = False  # only once
        lost = sorted(life.lost, key=lambda call: call.order)
        if life.instance.stage is self.plan.center:
            return self._restore_center(life.instance, lost, None if life.innocent or not lost else lost[0])
        for call in lost if life.innocent else lost[1:]:
            call.again()
        if lost and not life.innocent:
            lost[0].charge(f"the worker that ran {life.instance.stage.name} died")

    def _resume(self) -> None:
        waiting, self.waiting = self.waiting, collections.deque()
        for batch in waiting:
            self._submit(batch)

    def _free(self, batch: Batch) -> None:
        batch.free += 1
        self._too_often(batch.free, f"batch {batch.number}")
        self._submit(batch)

    def _too_often(self, times: int, what: str) -> None:
        if times > FREE_TRIES:
            raise Refusal(f"{what} was lost {times} times with workers or nodes that died of something else")

    def _charge(self, batch: Batch, reason: str) -> None:
        batch.charged += 1
        if batch.charged <= self.retries:
            self.counts["retried"] += 1
            self._submit(batch)
        else:
            self._give_up(batch, reason)

    def _give_up(self, batch: Batch, reason: str) -> None:
        """Its records go again as tombstones: operators that order or pair have to see each of them."""
        batch.given_up += 1
        self.log(f"batch {batch.number} is given up: {reason}")
        if batch.given_up > 2:
            raise Refusal(f"even the tombstones of batch {batch.number} could not be processed: {reason}")
        if batch.given_up == 1:
            batch.entries = [(n, self.workload.fail_input(n, part, reason)) for n, part in batch.entries]
        self._submit(batch)

    def _past_the_front(self, batch: Batch) -> None:
        """Hands tombstones straight to the center, where the front cannot even pass those on."""
        edges = self.plan.center.inputs if self.plan.center else []
        if not edges:
            for _, part in batch.entries:
                self._to_sink(self.plan.front[-1].exit, part)
            self.batches.pop(batch.number, None)
            return
        inputs = [(~edges[0]["to"], _with_port(part, edges[0]["to_port"])) for _, part in batch.entries]
        self._enter_center(batch, inputs, [])

    def _restart_center(self, why: str) -> None:
        center = self.instances[self.plan.center][0] if self.plan.center else None
        if center and center.up:
            self.log(f"{center.stage.name} starts anew: {why}")
            center.life.innocent = True
            self.flushing = self.flushed = False
            self._down(center.life)

    def _restore_center(self, center: Instance, lost: list[Call], culprit: Call | None) -> None:
        """From nothing, with every input so far. Its operators put them in order and drop repetitions."""
        self.generation += 1
        self.counts["replays"] += 1
        center.up = True
        center.actor.begin.remote(self.generation, set(self.released))
        entries = [(number, *entry) for number, entry in sorted(self.held.items())]
        if culprit is not None and culprit.batch is not None:
            entries = [entry for entry in entries if entry[1] is not culprit.batch]
        for some in _groups(entries):
            pending = [entry for entry in some if entry[0] in self.batches]
            for _, batch, inputs in pending:
                self._enter_center(batch, inputs, [])
            self._replay(center, [entry for entry in some if entry[0] not in self.batches])
        if culprit is not None:
            culprit.charge(f"the worker that ran {center.stage.name} died")
        for call in lost:
            if call.batch is None and call is not culprit:
                call.again()
        self._resume()
        self._flush_when_ready()

    def _replay(self, center: Instance, entries: list[tuple[int, Batch, list[tuple[int, Any]]]]) -> None:
        inputs = [pair for _, _, some in entries for pair in some]
        if not inputs:
            return
        head = Head(tuple(origin for origin, _ in inputs), generation=self.generation)
        out, note = self._center_call(center, head, [data for _, data in inputs])

        def again() -> None:
            for number, batch, _ in entries:
                self.batches[number] = batch
                self._free(batch)

        call = self._register(Call(next(self.order), [center.life], again, lambda _: again()))
        self._watch(note, lambda seqs, error: self._left_center(call, out, seqs, error))

    # ── Events ───────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, ref: Any, then: Callable[[Any, BaseException | None], None]) -> None:
        def done(future: Any) -> None:
            error = future.exception()
            value = None if error else future.result()
            self.events.put(lambda: then(value, error))

        ref.future().add_done_callback(done)

    def _watch_all(self, refs: list[Any], then: Callable[[list[Any], BaseException | None], None]) -> None:
        values: dict[int, Any] = {}
        failed: list[BaseException] = []

        def one(index: int, value: Any, error: BaseException | None) -> None:
            values[index] = value
            failed.extend([error] if error is not None else [])
            if len(values) == len(refs):
                then([values[i] for i in range(len(refs))], failed[0] if failed else None)

        if not refs:
            self.events.put(lambda: then([], None))
        for index, ref in enumerate(refs):
            self._watch(ref, lambda value, error, index=index: one(index, value, error))

    def _later(self, action: Callable[[], None], seconds: float = 0.05) -> None:
        timer = threading.Timer(seconds, lambda: self.events.put(action))
        timer.daemon = True
        timer.start()

    # ── For the record ───────────────────────────────────────────────────────────────────────────────

    def moved_in(self, instance: Instance, ready: tuple[int, str, str]) -> None:
        """An instance runs in a new process."""
        instance.pid, instance.node, host = ready
        home = self.homes.setdefault(instance.node, Home(host))
        home.processes.add(instance.pid)
        home.operators = max(home.operators, sum(len(i.stage.nodes) for i in self.everyone if i.node == instance.node))

    def nodes(self) -> Json:
        """Each node that had operators at some time, for `extra`: how many at most, their calls and processes."""
        return {
            node: {
                "operators": home.operators,
                "calls": self.calls[node],
                "processes": sorted(home.processes),
                "host": home.host,
            }
            for node, home in self.homes.items()
        }


def _groups(entries: list[Any]) -> list[list[Any]]:
    return [entries[at : at + REFS_PER_CALL] for at in range(0, len(entries), REFS_PER_CALL)]


def _feeds(before: Stage, stage: Stage) -> bool:
    return any(edge["from"] == before.exit for edge in stage.inputs)


def _seq(batch: bytes, at: int) -> int:
    return int.from_bytes(batch[at + 8 : at + 16], "little")


def _with_port(batch: bytes, port: int) -> bytes:
    output = bytearray(batch)
    for at, _ in extents(batch):
        output[at + 4] = port
    return bytes(output)


def _said(error: BaseException) -> str:
    cause = compat.cause_of(error)
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else ''}"


def deploy(plan: Plan, config: Json, nodes: list[str]) -> dict[str, list[Any]]:
    """The actors, asked for but not necessarily up, on these nodes in turn; anywhere when none are named."""
    setups = workers.setups(plan, config)
    count = sum(map(len, setups.values()))
    if count < len(nodes):
        raise Refusal(
            f"{len(nodes)} nodes are more than there are operators to place: with --parallelism {plan.parallelism} they "
            f"run in {count} actors. Leave --nodes at {count} at most, or raise --parallelism",
            "unsupported",
        )
    actor = ray.remote(workers.Stage)
    alike: Json = {"num_cpus": 0.01, "max_restarts": -1, "max_task_retries": 0}
    homes = itertools.cycle(compat.at_home_on(node) for node in nodes or [None])
    return {name: [actor.options(**alike, **next(homes)).remote(s) for s in some] for name, some in setups.items()}
