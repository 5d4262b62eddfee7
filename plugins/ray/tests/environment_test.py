"""Whose token Ray uses. Run by plugins/python/tests/engines.rs, without Ray."""

from __future__ import annotations

import os
import stat
import tempfile
import unittest
from unittest import mock

import environment


class TokenTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home, self.dir = os.path.join(folder.name, "home"), os.path.join(folder.name, "run")
        os.makedirs(os.path.join(self.home, ".ray"))
        os.makedirs(self.dir)

    def prepared(self, joins: bool, **user: str) -> dict[str, str]:
        """What of the authentication is in the environment afterwards."""
        with mock.patch.dict(os.environ, user):
            for name in environment.AUTHENTICATION:
                if name not in user:
                    os.environ.pop(name, None)
            environment.prepare(self.dir, joins, self.home)
            return {name: os.environ[name] for name in environment.AUTHENTICATION if name in os.environ}

    def test_a_ray_of_our_own_has_a_token_of_its_own_that_nobody_else_reads(self) -> None:
        for user in ({}, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "the user's"}):
            found = self.prepared(False, **user)
            path = found.pop("RAY_AUTH_TOKEN_PATH")
            self.assertEqual(found, {"RAY_AUTH_MODE": "token"})
            self.assertTrue(path.startswith(self.dir))
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_who_joins_a_cluster_brings_what_they_have(self) -> None:
        self.assertEqual(self.prepared(True), {"RAY_AUTH_MODE": "disabled"})
        given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t"}
        self.assertEqual(self.prepared(True, **given), given)
        token = os.path.join(self.home, ".ray", "auth_token")
        with open(token, "w") as file:
            file.write("t")
        self.assertEqual(self.prepared(True), {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": token})
        self.assertEqual(self.prepared(True, **given), given)


if __name__ == "__main__":
    unittest.main()
