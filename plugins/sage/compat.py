"""What of SAGE is private, or below its public interface. No other module touches such a thing.

`cargo xtask runtime-versions --backend sage` tries every version that the plugin accepts.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any


def quiet() -> None:
    """SAGE logs four lines per submit, and has no setting for it."""
    from sage.foundation import CustomLogger

    CustomLogger.disable_global_console_debug()
    logging.disable(logging.WARNING)


def forget_actors(environment: Any) -> None:
    """After a submit: each registers new actors, which SAGE never forgets by itself."""
    for actor in environment._compiled_graph.actor_handles:
        actor.cancel()


@contextlib.contextmanager
def flow_engine() -> Iterator[tuple[Any, Any]]:
    """SAGE's flow engine for as long as the context lasts: a client, and the module with its decorators."""
    import sage.runtime.flownet as flownet

    # Without a node service, which would open a port. Requests are forgotten soon: by default SAGE
    # keeps a ledger of each for five minutes.
    host = flownet.V1RuntimeHost(local_address="127.0.0.1:0", gc_idle_interval_seconds=1, gc_idle_ttl_seconds=5)
    client = flownet.build_runtime_client(owner="bench", runtime_host=host)
    with flownet.client_scope(client):
        yield client, flownet
    host.shutdown(wait=True)
