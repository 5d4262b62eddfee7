"""A cluster that is to be joined: whether anything is where it should be, and an end to waiting for it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from bench_engine.channel import Refusal

CONNECT_SECONDS = 10.0
SPEAKS_SECONDS = 1.0
"""In which a scheduler speaks first, as Dask's and Ray's do, and a web server answers."""


def reach(address: str, whose: str, remedy: str) -> None:
    """Refuses an address where nobody listens, or a web server does: a runtime would try again for minutes or for ever.

    ``whose`` is what should be there, such as "Ray's head"; ``remedy`` is where its address is found.
    """
    host, port = _parts(address)
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
            is_web = _is_web_server(connection, host)
    except OSError as cause:
        what = cause.strerror or str(cause) or type(cause).__name__
        raise Refusal(f"{whose} cannot be reached at {address}: {what.lower()}", "unavailable", remedy) from cause
    if is_web:
        raise Refusal(f"a web server answers at {address}, such as a dashboard, and not {whose}", "unavailable", remedy)


def _parts(address: str) -> tuple[str, int]:
    split = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = split.hostname, split.port
    except ValueError:  # of a port that is none
        host, port = None, None
    if host is None or not port:
        raise Refusal(f"{address} is not HOST:PORT with a port from 1 to 65535", "unsupported")
    return host, port


def _is_web_server(connection: socket.socket, host: str) -> bool:
    """Whether it answers HTTP. Others speak first, say nothing to that, or hang up."""
    connection.settimeout(SPEAKS_SECONDS)
    with contextlib.suppress(TimeoutError):
        return connection.recv(5) == b"HTTP/"
    with contextlib.suppress(OSError):
        connection.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        return connection.recv(5) == b"HTTP/"
    return False


@contextlib.contextmanager
def deadline(seconds: float, fail: Callable[[BaseException], object], why: Callable[[], Refusal]) -> Iterator[None]:
    """Ends the run with a reason when what is within takes longer: for calls that nothing else ends."""
    timer = threading.Timer(seconds, lambda: fail(why()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
