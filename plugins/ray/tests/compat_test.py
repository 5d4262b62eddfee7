"""What the driver makes of Rays that differ: the oldest that the plugin accepts lacks names that the newest has.

No Ray needed: the names that matter are made here. `cargo xtask runtime-versions` tries the real ones.
"""

from __future__ import annotations

import importlib
import sys
import types
import unittest
from typing import Any

from bench_engine import Refusal


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: BaseException) -> None:
        self.cause = cause


class RayActorError(RayError):
    def __init__(self, actor_id: object = None) -> None:
        self.actor_id = actor_id


class ActorUnavailableError(RayActorError):
    pass


class ObjectLostError(RayError):
    pass


class ActorID:
    def hex(self) -> str:
        return "c0ffee"


def compat_with(version: str, dag: type, **newer: type) -> Any:
    """The module as it is with a Ray of this version, which has further errors."""
    ray = types.ModuleType("ray")
    ray.__version__ = version  # type: ignore[attr-defined]
    ray.exceptions = types.ModuleType("ray.exceptions")  # type: ignore[attr-defined]
    everywhere = {kind.__name__: kind for kind in (RayTaskError, RayActorError, ObjectLostError)}
    vars(ray.exceptions).update(everywhere, **newer)
    nodes = types.ModuleType("ray.dag")
    nodes.DAGNode = dag  # type: ignore[attr-defined]
    sys.modules.update({"ray": ray, "ray.exceptions": ray.exceptions, "ray.dag": nodes})
    sys.modules.pop("compat", None)
    return importlib.import_module("compat")


class Plain:
    """A graph of Ray 2.9."""


class Early:
    """A graph of Ray 2.12, whose arguments had other names."""

    def experimental_compile(self, buffer_size_bytes: int | None = None) -> None: ...


class Compiled:
    """A graph of Ray 2.40 and later."""

    def experimental_compile(
        self, _buffer_size_bytes: int | None = None, _max_inflight_executions: int | None = None
    ) -> None: ...


class CompatTest(unittest.TestCase):
    def tearDown(self) -> None:
        for name in ("ray", "ray.exceptions", "ray.dag", "compat"):
            sys.modules.pop(name, None)

    def test_the_oldest_ray_knows_deaths_and_no_unavailable_actors(self) -> None:
        compat = compat_with("2.9.0", Plain)
        self.assertEqual(compat.failure_of(RayTaskError(RayActorError("a1"))).death, ("a1", False))
        self.assertEqual(compat.failure_of(RayActorError()).death, (None, False))
        self.assertIsNone(compat.failure_of(RayTaskError(ValueError("an operator"))).death)

    def test_the_newest_tells_a_dead_actor_from_one_that_cannot_be_reached(self) -> None:
        compat = compat_with("2.60.0", Compiled, ActorUnavailableError=ActorUnavailableError)
        self.assertEqual(compat.failure_of(ActorUnavailableError("a1")).death, ("a1", True))
        self.assertEqual(compat.failure_of(RayActorError("a1")).death, ("a1", False))

    def test_an_actor_that_died_while_it_was_made_is_named_by_an_id_and_not_by_text(self) -> None:
        compat = compat_with("2.9.0", Plain)
        self.assertEqual(compat.failure_of(RayActorError(ActorID())).death, ("c0ffee", False))

    def test_what_a_task_raised_is_told_from_what_was_lost(self) -> None:
        compat = compat_with("2.9.0", Plain)
        raised = ValueError("an operator")
        self.assertIs(compat.failure_of(RayTaskError(raised)).cause, raised)
        self.assertEqual(str(compat.failure_of(RayTaskError(raised))), "ValueError: an operator")
        self.assertTrue(compat.failure_of(RayTaskError(ObjectLostError())).object_lost)
        self.assertFalse(compat.failure_of(RayTaskError(raised)).object_lost)

    def test_why_a_cluster_cannot_be_joined_is_a_sentence_with_a_remedy(self) -> None:
        compat = compat_with("2.60.0", Compiled)
        # As Ray 2.60 says it.
        mismatch = (
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n"
            "This process on process connecting was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
        )
        token = (
            "Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n  ray.exceptions."
            "RpcError: Unauthenticated: InvalidAuthToken: Authentication token is missing or incorrect"
        )
        node = "No node info found matching attributes: '' when trying to resolve node to connect to."
        for words, sentence, remedy in (
            (mismatch, "has another version .*: Ray 2.9.0 on Python 3.10.1 and Ray 2.60.0 on", "set BENCH_PYTHON_RAY"),
            (token, "does not accept the token", "RAY_AUTH_TOKEN_PATH"),
            (node, "this machine is no node of the Ray cluster at there:6379", "ray start --address=there:6379"),
            ("the moon is full", "cannot be joined: RuntimeError: the moon is full", "logs of the cluster"),
        ):
            error = ConnectionError("Failed to connect to Ray cluster at there:6379")
            error.__cause__ = RuntimeError(words)
            refusal = compat.not_joined(error, "there:6379")
            self.assertRegex(str(refusal), sentence)
            self.assertIn(remedy, refusal.remedy)
        # As Ray 2.60 says it where none runs.
        error = ConnectionError("Could not find any running Ray instance. Please specify the one to connect to by set")
        refusal = compat.not_joined(error, "auto")
        self.assertIn("none runs here", str(refusal))
        self.assertIn("ray start --head", refusal.remedy)

    def test_compiled_graphs_are_refused_where_there_are_none_and_the_version_is_told(self) -> None:
        for version, dag in (("2.9.0", Plain), ("2.12.0", Early)):
            with self.assertRaisesRegex(Refusal, f"ray_mode=compiled needs .* this is Ray {version}"):
                compat_with(version, dag).need_compiled_graphs()
        compat_with("2.60.0", Compiled).need_compiled_graphs()


if __name__ == "__main__":
    unittest.main()
