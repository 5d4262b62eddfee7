"""Environment that must be in place before `import ray`: its C++ core reads it while it is imported."""

from __future__ import annotations

import os
import secrets

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_COLOR_PREFIX": "0",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
}


AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare(private_dir: str, joins: bool, home: str) -> None:
    """Quiet, offline, and with a token of its own; or with the user's, whose home folder it is, to join a cluster.

    Left alone, Ray writes `~/.ray/auth_token`, readable by everyone.
    """
    os.environ.update(QUIET)
    # `cluster_utils.Cluster` writes its address below this, and expects the folder to be there.
    os.environ["RAY_TMPDIR"] = private_dir
    os.makedirs(os.path.join(private_dir, "ray"), exist_ok=True)
    if joins:
        # Ray looks for so long for a node of the cluster on this machine, which is there or is not.
        os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "20")
        return _as_the_user(home)
    for name in AUTHENTICATION:
        os.environ.pop(name, None)
    path = os.path.join(private_dir, "token")
    with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=path)


def _as_the_user(home: str) -> None:
    """What the user's own Ray programs would use: the variables, or the token file in the home folder."""
    token = os.path.join(home, ".ray", "auth_token")
    if not any(name in os.environ for name in AUTHENTICATION) and os.path.isfile(token):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=token)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
