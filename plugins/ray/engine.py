"""Runs the plan on actors: chains references to results, and recovers from lost workers.

* `transport.py`: what all of this needs of Ray; `ray_transport.py`: and how Ray does it.
* `actors.py`: actors, their processes, and the calls that depend on those.
* `recovery.py`: who died, and what goes again.
* `documents.py`: what every actor is to have had.
* `front.py`: the way of a batch to the center; `submission.py`: each batch, until the center has taken it in.
* `center.py`: what the center was given and what it released; `tail.py`: what was released, until it is answered.
* `results.py`: each query is answered once; `flush.py`: the end of the stream.

One thread owns everything here. Completions come as actions on the queue that also carries the input, so there are
no locks and no polling.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from actors import Actors, Call
from bench_engine import Tally, Workload
from center import Center
from common import Addressed, Counts, Shared
from documents import Documents
from flush import Flush
from front import Front
from plan import Plan
from recovery import Recovery
from results import Results
from submission import Submission
from tail import Tail
from transport import Transport

IN_FLIGHT = 64
"""Batches of events that may be under way before the center: more would only wait in Ray's queues."""

Event = Any
"""A batch of events, `None` at their end, or an action to call."""


class Engine:
    """A run on actors that are up."""

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        actors: Actors,
        transport: Transport,
        retries: int,
        emit: Callable[[bytes], None],
        log: Callable[[str], None],
    ) -> None:
        self.tally = Tally(plan.graph)
        self._shared = Shared(plan, workload, workload.router(plan.parallelism), actors, transport, retries, log)
        self._recovery = Recovery(self._shared, self)
        self._results = Results(self._shared, self.tally, emit)
        self._documents = Documents(self._shared, self._recovery)
        self._front = Front(self._shared, self._documents)
        self._tail: Tail | None = None
        self._center: Center | None = None
        if plan.center is not None and actors.center is not None:
            self._tail = Tail(self._shared, self._recovery, self._results, plan.center)
            self._center = Center(self._shared, self._recovery, actors.center, self._tail, self._flush_again)
        self._submission = Submission(self._shared, self._recovery, self._front, self._center, self._results)
        self._flush = Flush(self._shared, self._recovery, self._front, self._center, self._results)

    def run(self, next_event: Callable[[], Event], accepted: Callable[[], None]) -> None:
        """Until every event is answered. Says `accepted` for each batch that it takes on."""
        pending: collections.deque[bytes] = collections.deque()
        input_ended = False
        while not (self._flush.is_done and not self._tail):
            event = next_event()
            if callable(event):
                event()
            elif event is None:
                input_ended = True
            else:
                pending.append(event)
            while pending and self._has_room:
                self._accept(pending.popleft())
                accepted()
            if input_ended and not pending and not self._submission:
                self._flush.submit()

    @property
    def counts(self) -> Counts:
        """What recovery had to do."""
        return self._shared.counts

    @property
    def _has_room(self) -> bool:
        under_way = len(self._submission) + len(self._tail or ())
        return under_way < IN_FLIGHT and not self._submission.is_waiting

    def _accept(self, events: bytes) -> None:
        """Takes on a batch of events."""
        self.tally.event_batch(events)
        self._results.expect(events)
        plan, shared = self._shared.plan, self._shared
        documents: Addressed = []
        queries: Addressed = []
        for node, instance, part in shared.router.route_events(events, next(shared.turns)):
            stage = plan.by_node[node]
            if stage in plan.side:
                documents.append((node, part))
            elif stage.broadcast and plan.is_broadcast(node, part[4]):
                documents += [(node, part)] if instance == 0 else []
            else:
                queries.append((node, part))
        if documents:
            self._documents.add(documents)
        if queries:
            self._submission.add(queries)

    # ── What recovery tells ──────────────────────────────────────────────────────────────────────────

    def worker_replaced(self) -> None:
        """See `recovery.Listener`."""
        self._submission.resume()

    def center_replaced(self, culprit: Call | None) -> None:
        """See `recovery.Listener`."""
        assert self._center is not None
        self._submission.replay(self._center.begin_anew(), culprit)
        self._flush.drop()
        self._submission.resume()

    def _flush_again(self) -> None:
        """What the center had flushed is lost."""
        self._flush.again()
