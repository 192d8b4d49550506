"""Calls in a fresh interpreter, as a loader process or a new run meets a plugin; standard library only.

A job travels as a pickle of its own, so that one which cannot be read there leaves the others alone.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 300
"""Seconds that an interpreter has for its jobs; those of the first-party plugins take less than 20."""
_OTHER_END = "from jepa_core.testing.fresh import answer_all; answer_all()"

Job = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of the top level of a module, and its arguments."""


@dataclass(frozen=True)
class Failure:
    """A job that raised, or that cannot travel."""

    message: str
    """The error's type and what it said."""


def call(*jobs: Job) -> list[Any]:
    """What every function gives for its arguments, in the order of the jobs; a `Failure` in place of what raised.

    The interpreter finds the modules that this one finds. What it prints is kept from this one's output. One that takes
    longer than `PATIENCE` is ended.
    """
    packed = [attempt(pickle.dumps, job) for job in jobs]
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder, "in"), Path(folder, "out")
        given.write_bytes(pickle.dumps(packed))
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _OTHER_END, given, answers],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return [Failure(f"an interpreter that had not ended after {PATIENCE} seconds")] * len(jobs)
        if answers.exists():
            return pickle.loads(answers.read_bytes())
    said = done.stderr.strip().splitlines()
    last = f": {said[-1]}" if said else ""
    return [Failure(f"the interpreter ended with exit code {done.returncode}{last}")] * len(jobs)


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives, or a `Failure`."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - the plugin border: a stranger's code may raise anything
        return Failure(f"{type(error).__name__}: {error}")


def _answer(packed: bytes | Failure) -> Any:
    if isinstance(packed, Failure):
        return packed
    function, arguments = pickle.loads(packed)
    return function(*arguments)


def answer_all() -> None:
    """The other end: read the jobs from the file that is named first, and write the answers to the other."""
    given, answers = map(Path, sys.argv[1:])
    found = [attempt(_answer, packed) for packed in pickle.loads(given.read_bytes())]
    whole = answers.with_suffix(".partial")
    whole.write_bytes(pickle.dumps(found))
    whole.rename(answers)
