"""Notices that the process of an actor died, waits for the next one, and repeats what was lost.

A synchronous actor runs its calls in order, so of the calls lost with a process only the oldest was running: that one
is charged with the failure, the others go again free of charge. Where an actor makes several calls at once, because
they wait for a service, it is the likeliest. Nothing goes again before every call that depended on the process has
ended, or the oldest would not be known.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

from actors import Call, Incarnation
from bench_engine import Refusal
from common import Shared
from transport import Death, Failure, Ref, watch_all
from workers import StateLost

FREE_TRIES = 20
"""How often something is repeated free of charge, because it was lost with something else."""
RESTART_SECONDS = 60.0
"""How long an actor that died may take to come back before the run is given up."""


class Listener(Protocol):
    """Who submits work."""

    def worker_replaced(self) -> None:
        """An actor is up again, and what was lost with it has been repeated."""

    def center_replaced(self, culprit: Call | None) -> None:
        """The center's actor is up again, without any state. The culprit is charged once the state is back."""


class Recovery:
    """Every call that can be lost is watched here."""

    def __init__(self, shared: Shared, listener: Listener) -> None:
        self._shared, self._listener = shared, listener
        self._order = itertools.count(1)

    def watch(self, call: Call, ref: Ref) -> None:
        """Tells the call how it ended, once it has."""
        self._register(call)
        self._shared.transport.watch(ref, lambda value, failure: self._ended(call, value, failure))

    def watch_all(self, call: Call, refs: list[Ref]) -> None:
        """As `watch` for a call with several results."""
        self._register(call)
        watch_all(self._shared.transport, refs, lambda values, failure: self._ended(call, values, failure))

    def down(self, incarnation: Incarnation, unavailable: bool = False) -> None:
        """A process is of no use any more. That of an actor that is down already is no news."""
        instance = incarnation.instance
        if instance.incarnation is not incarnation:
            return
        instance.renew()
        self._shared.counts.deaths += 1
        happened = "cannot be reached" if unavailable else "died; Ray restarts it"
        self._shared.log(f"{instance.stage.name}/{instance.index} (process {instance.pid}) {happened}")
        self._probe(incarnation, self._shared.transport.now() + RESTART_SECONDS)

    def state_lost(self, call: Call, cause: StateLost) -> bool:
        """An actor lacks what a call builds on. Whether the call counts as lost now; else the caller repeats it."""
        self._shared.counts.replays += 1
        incarnation = next((one for one in call.incarnations if _is_of(one, cause)), None)
        if incarnation is None:
            return False
        instance = incarnation.instance
        if instance is not self._shared.actors.center:
            instance.documents_sent = min(instance.documents_sent, cause.position)
            return False
        incarnation.lost.append(call)
        incarnation.blameless = True
        self.down(incarnation)
        return True

    def _register(self, call: Call) -> None:
        call.order = next(self._order)
        for incarnation in call.incarnations:
            incarnation.under_way.add(call)

    def _ended(self, call: Call, value: Any, failure: Failure | None) -> None:
        if failure is None:
            call.succeeded(value)
        elif failure.death is None:
            call.failed(failure)
        else:
            self._lost(call, failure.death)
        for incarnation in call.incarnations:
            incarnation.under_way.discard(call)
            self._repeat_what_was_lost(incarnation)

    def _lost(self, call: Call, death: Death) -> None:
        incarnation = next((one for one in call.incarnations if one.instance.actor.id == death.actor), None)
        if incarnation is None:
            # A document's maker, or that of an input that was replayed, died: it is made again by now or soon.
            return self._shared.transport.later(call.repeat)
        incarnation.lost.append(call)
        self.down(incarnation, death.unavailable)

    def _probe(self, incarnation: Incarnation, deadline: float) -> None:
        instance, transport = incarnation.instance, self._shared.transport

        def answered(ready: Any, failure: Failure | None) -> None:
            if failure is None:
                return self._replaced(incarnation, ready)
            if transport.now() > deadline:
                raise Refusal(f"Ray did not restart {instance.stage.name} within {RESTART_SECONDS:.0f} s")
            transport.later(lambda: self._probe(incarnation, deadline))

        transport.watch(instance.actor.ready(), answered)

    def _replaced(self, incarnation: Incarnation, ready: tuple[int, str, str]) -> None:
        incarnation.replaced = True
        instance = incarnation.instance
        self._shared.actors.started(instance, ready)
        if instance is not self._shared.actors.center:
            instance.up = True
            self._listener.worker_replaced()
        self._repeat_what_was_lost(incarnation)

    def _repeat_what_was_lost(self, incarnation: Incarnation) -> None:
        """Once the next process runs and every call that depended on this one has ended."""
        if not incarnation.replaced or incarnation.under_way:
            return
        incarnation.replaced = False  # Only once.
        lost = sorted(incarnation.lost, key=lambda call: call.order)
        culprit = lost[0] if lost and not incarnation.blameless else None
        if incarnation.instance is self._shared.actors.center:
            # Its successor is given everything again, so what was lost there is not repeated call by call.
            self._listener.center_replaced(culprit)
        else:
            for call in lost:
                if call is not culprit:
                    call.repeat()
        if culprit is not None:
            culprit.charge(f"the worker that ran {incarnation.instance.stage.name} died")


def not_for_ever(times: int, what: str) -> None:
    """Ends the run where something was lost too often."""
    if times > FREE_TRIES:
        raise Refusal(f"{what} was lost {times} times with workers or nodes that died of something else")


def _is_of(incarnation: Incarnation, cause: StateLost) -> bool:
    instance = incarnation.instance
    return (instance.stage.name, instance.index) == (cause.stage, cause.instance)
