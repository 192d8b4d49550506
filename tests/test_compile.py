"""torch.compile changes no result. In a child, for the shape checks of the test process cannot be traced."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from toy_train import rows, train_toy, train_traced

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jepa_core.trainer"])


def test_compiled_networks_train_alike(tmp_path: Path) -> None:
    child = SERVER.Process(target=train_traced, args=(tmp_path / "compiled", ["train.steps=3", "train.compile=true"]))
    child.start()
    child.join(600)
    assert child.exitcode == 0
    train_toy(tmp_path / "eager", ["train.steps=3"])
    losses = [[row["loss"] for row in rows(tmp_path / kind)] for kind in ("compiled", "eager")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
