"""What a backend in Python is made of. Needs Python 3.10 and nothing else.

Write a class with ``start``, ``deploy``, ``submit``, ``finish`` and ``close``, and end the driver with
``run(MyEngine)``: the stream, its bounds, retries, metrics and phases are here. In a worker process, import
``bench_engine.worker``.

* :class:`Engine`, :class:`Run`, :func:`run`: what an author writes and is given.
* ``worker``: opens the workload in a worker process and runs its operators.
* :func:`archive`: this package and modules of yours, for a runtime that sends code to its workers.
* :class:`Workload`, :class:`Channel`, :class:`Tally`, :func:`chains`, :func:`drive` and the rest: for an engine with a
  flow of its own.
"""

from bench_engine import clocks, worker
from bench_engine.channel import Channel, HostGone, Refusal
from bench_engine.driver import drive, run
from bench_engine.engine import MAKE_ANEW, Engine, Lost, Perhaps, Run
from bench_engine.frames import DATA, FAILED, HEADER_LEN, HEARTBEAT, extents, frames, seq, with_port
from bench_engine.graph import Json, Stage, answered_sources, chains, concurrency, cut, inputs, instances, outputs
from bench_engine.reach import deadline, reach
from bench_engine.shipping import archive, copy_package
from bench_engine.stream import read
from bench_engine.tally import Tally
from bench_engine.worker import Setup, Used
from bench_engine.workload import Delivery, Operator, Router, Workload, WorkloadError, prepare

__version__ = worker.VERSION

__all__ = [
    "DATA",
    "FAILED",
    "HEADER_LEN",
    "HEARTBEAT",
    "MAKE_ANEW",
    "Channel",
    "Delivery",
    "Engine",
    "HostGone",
    "Json",
    "Lost",
    "Operator",
    "Perhaps",
    "Refusal",
    "Router",
    "Run",
    "Setup",
    "Stage",
    "Tally",
    "Used",
    "Workload",
    "WorkloadError",
    "__version__",
    "answered_sources",
    "archive",
    "chains",
    "clocks",
    "concurrency",
    "copy_package",
    "cut",
    "deadline",
    "drive",
    "extents",
    "frames",
    "inputs",
    "instances",
    "outputs",
    "prepare",
    "reach",
    "read",
    "run",
    "seq",
    "with_port",
    "worker",
]
