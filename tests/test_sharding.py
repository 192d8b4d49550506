"""Sharded parameters (FSDP2's fully_shard, over gloo): the target encoder follows on shards, checkpoints are whole."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_shards import STEPS, everything, sharded_run, small_run, train_steps

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["jepa_core.trainer"])


@pytest.mark.usefixtures("toy")
def test_two_shards_train_and_save_as_one_process_does(tmp_path: Path) -> None:
    from jepa_core.optim import build_optimizer, set_hyperparameters

    parts, model, target, signal, views = small_run()
    optimizer = build_optimizer(model, parts.config.optim)
    set_hyperparameters(optimizer, parts.config.optim, 0, 10)
    train_steps(model, target, optimizer, signal, views, STEPS)
    whole, distance = everything(model, target, optimizer), target.distance(model.encoder)
    save_file({name: value.contiguous() for name, value in whole.items()}, tmp_path / "whole.safetensors")

    ranks = [SERVER.Process(target=sharded_run, args=(rank, 2, tmp_path)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(600)
    assert [rank.exitcode for rank in ranks] == [0, 0]

    sharded = load_file(tmp_path / "sharded.safetensors")
    assert float(sharded.pop("distance")) == pytest.approx(distance, rel=1e-4)
    train_steps(model, target, optimizer, signal, views, 1)
    for found, expected in (
        (sharded, load_file(tmp_path / "whole.safetensors")),
        (load_file(tmp_path / "continued.safetensors"), everything(model, target, optimizer)),
    ):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-4, atol=2e-6, msg=lambda told, name=name: f"{name}: {told}"
            )
