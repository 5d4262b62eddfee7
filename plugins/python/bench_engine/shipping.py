"""This package, for runtimes that send code to their workers."""

from __future__ import annotations

import os
import shutil
import zipfile

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def archive(path: str, *modules: str) -> str:
    """Writes a zip of this package and of files beside the driver; returns its path. Name it after the run."""
    with zipfile.ZipFile(path, "w") as zipped:
        for name in sorted(os.listdir(PACKAGE)):
            if name.endswith(".py"):
                zipped.write(os.path.join(PACKAGE, name), f"bench_engine/{name}")
        for module in modules:
            zipped.write(module, os.path.basename(module))
    return path


def copy_package(folder: str) -> None:
    """Copies this package into a folder."""
    shutil.copytree(PACKAGE, os.path.join(folder, "bench_engine"), ignore=shutil.ignore_patterns("__pycache__"))
