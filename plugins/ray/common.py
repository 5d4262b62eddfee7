"""What the parts of the engine share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from actors import Actors
from bench_engine import Router, Workload
from plan import Plan
from transport import Transport

REFS_PER_CALL = 64
"""Most references that a replay puts into one call."""

Addressed = list[tuple[int, bytes]]
"""Nodes, and batches on their way into them."""


@dataclass(eq=False)
class Batch:
    """Events from the host, as deliveries for the front."""

    number: int
    entries: Addressed
    charged: int = 0
    free: int = 0
    given_up: int = 0
    """How often: first its records go again as tombstones, then past the front."""


@dataclass
class Counts:
    """What recovery had to do, for the record."""

    deaths: int = 0
    retried: int = 0
    replays: int = 0
    tombstones: int = 0
    lost_documents: int = 0


@dataclass(eq=False)
class Shared:
    """The run as every part of the engine sees it."""

    plan: Plan
    workload: Workload
    router: Router
    actors: Actors
    transport: Transport
    retries: int
    log: Callable[[str], None]
    counts: Counts = field(default_factory=Counts)
    turns: Iterator[int] = field(default_factory=itertools.count)
    """Where any instance will do, work goes to them in turn."""
