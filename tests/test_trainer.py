"""What the loop promises besides exact resume (test_resume.py) and equal processes (test_distributed.py)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toy import toy_config

from jepa_core import checkpoint as checkpoints
from jepa_core.checkpoint import RunFolder, Which, load_encoder
from jepa_core.errors import CheckpointError, CollapseStop, ConfigError, DataError, NonFiniteLoss, UsageError
from jepa_core.model import Encoder
from jepa_core.objectives import Objective
from jepa_core.trainer import Trainer

pytestmark = pytest.mark.usefixtures("toy")


def trainer(folder: Path, *overrides: str, **how: Any) -> Trainer:
    return Trainer(toy_config(*overrides), RunFolder(folder), **how)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def snapshot(run: Trainer) -> dict[str, torch.Tensor]:
    modules = (run.state.model, run.state.target)
    return {f"{i}/{name}": v.clone() for i, module in enumerate(modules) for name, v in module.state_dict().items()}


def test_training_lowers_the_loss_and_moves_all_three_networks(tmp_path: Path) -> None:
    run = trainer(tmp_path, "train.steps=60", "optim.lr.value=3e-3", "ema.momentum.value=0.9", "checkpoint.every=60")
    before = snapshot(run)
    assert run.train() == "done"
    losses = [row["loss"] for row in rows(tmp_path)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    moved = {name for name, value in snapshot(run).items() if not torch.equal(value, before[name])}
    assert moved == set(before)


def test_the_log_has_a_row_per_step_with_schedules_in_closed_form(tmp_path: Path) -> None:
    trainer(tmp_path, "optim.weight_decay={value: 0.1, end: 0.5}", "ema.momentum={value: 0.5, end: 1.0}").train()
    found = rows(tmp_path)
    assert [row["step"] for row in found] == list(range(1, 9))
    assert [row["weight_decay"] for row in found] == pytest.approx([0.1 + 0.05 * step for step in range(8)])
    assert [row["momentum"] for row in found] == pytest.approx([0.5 + 0.0625 * step for step in range(8)])
    assert found[-1]["epoch"] == 8 * 16 / 64


def test_collapse_metrics_come_at_their_interval_and_at_the_end(tmp_path: Path) -> None:
    trainer(tmp_path, "train.steps=7", "collapse.every=3").train()
    assert [row["step"] for row in rows(tmp_path) if "collapse/target_rank" in row] == [3, 6, 7]


def test_a_predictor_learning_rate_of_its_own(tmp_path: Path) -> None:
    run = trainer(tmp_path, "optim.predictor_lr_scale=0.5")
    run.train()
    rates = {id(p): group["lr"] for group in run.state.optimizer.param_groups for p in group["params"]}
    encoder, predictor = (
        {rates[id(p)] for p in part.parameters()} for part in (run.state.model.encoder, run.state.model.predictor)
    )
    assert len(encoder) == len(predictor) == 1
    assert predictor.pop() == pytest.approx(0.5 * encoder.pop())


def test_biases_and_norms_are_not_decayed(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.train()
    for group in run.state.optimizer.param_groups:
        assert (group["weight_decay"] > 0) == group["decayed"]
        assert all((p.ndim > 1) == group["decayed"] for p in group["params"])


def test_clipping_bounds_what_reaches_the_optimizer_and_not_what_is_logged(tmp_path: Path) -> None:
    run = trainer(tmp_path / "clipped", "optim.clip_norm=1e-3", "train.steps=1", "optim.lr.warmup=0")
    norms: list[float] = []
    step = run.state.optimizer.step

    def spy() -> None:
        grads = [p.grad for p in run.state.model.predictor.parameters() if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))
        step()

    run.state.optimizer.step = spy
    run.train()
    assert norms == pytest.approx([1e-3], rel=1e-3)
    assert rows(tmp_path / "clipped")[0]["grad_norm_predictor"] > 1e-2


def test_a_non_finite_loss_stops_before_any_weight_moves_and_names_the_sample(tmp_path: Path) -> None:
    run = trainer(tmp_path, "train.batch_size=4")
    objective, calls = run.parts.objective, []

    class Spoilt(type(objective)):
        def __call__(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            losses = super().__call__(predicted, targets)
            calls.append(len(losses))
            return losses + torch.tensor([0, float("nan"), 0, 0]) if len(calls) == 3 else losses

    objective.__class__ = Spoilt
    snapshots: list[dict[str, torch.Tensor]] = []
    run.on_row = lambda _row: snapshots.append(snapshot(run))
    with pytest.raises(
        NonFiniteLoss, match=r"step 2: the loss is not finite, on process 0 from .+\. No weight was moved"
    ):
        run.train()
    after = snapshot(run)
    assert all(torch.equal(value, after[name]) for name, value in snapshots[-1].items())
    assert isinstance(objective, Objective)


def test_a_non_finite_gradient_stops_too(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.state.model.predictor.mask_tokens.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteLoss, match="gradient norm is not finite"):
        run.train()


def test_too_many_unreadable_samples_end_the_run_with_a_path(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.max_unreadable: .* of 64 samples cannot be read, and 1\.0% are allowed"
    ):
        trainer(tmp_path, "modality.unreadable=[3,4,5]").train()


def test_a_few_unreadable_samples_are_counted_and_named(tmp_path: Path) -> None:
    trainer(tmp_path, "modality.unreadable=[3,4,5]", "data.max_unreadable=0.1").train()
    named = [json.loads(line) for line in (tmp_path / "unreadable.jsonl").read_text().splitlines()]
    assert {row["index"] for row in named} == {3, 4, 5}
    assert rows(tmp_path)[-1]["unreadable"] == 3


def test_an_unreadable_sample_weighs_nothing(tmp_path: Path) -> None:
    """The loss of a step is the mean over its readable samples."""
    run = trainer(
        tmp_path, "train.batch_size=64", "train.steps=1", "modality.unreadable=[3]", "data.max_unreadable=0.1"
    )
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    forward = run._forward

    def spy(batch: Any) -> Any:
        found = forward(batch)
        seen.append((found[0].detach(), batch.weight))
        return found

    run._forward = spy
    run.train()
    ((losses, weight),) = seen
    assert weight.sum() == 63
    assert rows(tmp_path)[0]["loss"] == pytest.approx(float(losses[weight > 0].mean()), rel=1e-6)


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no samples"):
        trainer(tmp_path, "modality.train_samples=0")


def test_collapse_can_end_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    run = trainer(tmp_path, "collapse={every: 2, stop: true, grace: 0, min_std: 1.1}", "checkpoint.every=100")
    with pytest.raises(CollapseStop, match=r"step 2: low_std \(targets hardly differ"):
        run.train()
    assert RunFolder(tmp_path).steps() == [3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    run = trainer(tmp_path, "checkpoint.every=100", "train.workers=2")

    def interrupt(row: Mapping[str, Any]) -> None:
        if row["step"] == 3:
            os.kill(os.getpid(), number)

    run.on_row = interrupt
    handler = signal.getsignal(number)
    assert run.train() == "interrupted"
    assert RunFolder(tmp_path).steps() == [4]
    assert signal.getsignal(number) == handler
    assert trainer(tmp_path, "checkpoint.every=100", resume=True).train() == "done"


def test_old_checkpoints_go_and_milestones_stay(tmp_path: Path) -> None:
    trainer(tmp_path, "train.steps=9", "checkpoint={every: 1, keep_last: 2, keep_every: 4}").train()
    assert RunFolder(tmp_path).steps() == [4, 8, 9]


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    with pytest.raises(UsageError, match=r"holds a run\. Continue it with --resume"):
        trainer(tmp_path)


def test_resuming_with_another_configuration_lists_the_differences(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    with pytest.raises(CheckpointError, match=r"optim\.lr\.value: 0\.001 in the checkpoint, 0\.5 given"):
        trainer(tmp_path, "optim.lr.value=0.5", "train.log_every=3", resume=True)
    trainer(tmp_path, "train.log_every=3", "checkpoint.keep_last=5", resume=True)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoints.save_file

    def full(tensors: Any, path: Path) -> None:
        if "step_00000008" in str(path) and path.name == "optimizer.safetensors":
            raise OSError(28, "No space left on device")
        save(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left.*Earlier checkpoints are intact.*--resume"):
        trainer(tmp_path).train()
    run = RunFolder(tmp_path)
    assert run.steps() == [4]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000004"]
    monkeypatch.undo()
    assert trainer(tmp_path, resume=True).train() == "done"


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    path = RunFolder(tmp_path).find() / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors: cannot be read"):
        trainer(tmp_path, resume=True)


def test_weights_of_another_model_are_refused_with_every_difference(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    wider = trainer(tmp_path / "wider", "encoder.width=64")
    with pytest.raises(CheckpointError, match=r"does not fit the model:\n  .*shape: "):
        wider.state.initialise(RunFolder(tmp_path))


def test_init_starts_from_the_weights_of_another_run_at_step_zero(tmp_path: Path) -> None:
    trainer(tmp_path / "first").train()
    second = trainer(tmp_path / "second", "optim.lr.value=1e-4", init=RunFolder(tmp_path / "first"))
    saved = load_file(RunFolder(tmp_path / "first").find() / "target_encoder.safetensors")
    assert second.state.step == 0
    assert all(torch.equal(value, saved[name]) for name, value in second.state.target.encoder.state_dict().items())


def test_the_encoder_of_a_run_loads_by_name(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.train()
    kept: dict[Which, Encoder] = {"target": run.state.target.encoder, "context": run.state.model.encoder}
    for which, module in kept.items():
        _, encoder = load_encoder(RunFolder(tmp_path), which)
        state = module.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
        assert not encoder.training
    with pytest.raises(CheckpointError, match=r"no checkpoint 'step_5'. There are: step_4, step_8"):
        load_encoder(RunFolder(tmp_path), "target", "step_5")


def test_checkpoints_hold_tensors_and_plain_types_only(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    folder = RunFolder(tmp_path).find()
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ".yaml"}
    state = json.loads((folder / "state.json").read_text())
    assert state["step"] == 8
    assert {"jepa-core", "torch"} <= set(state["versions"])


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size: 16 does not divide by 1 processes x 3"):
        trainer(tmp_path, "train.accumulate=3")


def test_bf16_keeps_weights_targets_and_moments_in_fp32(tmp_path: Path) -> None:
    run = trainer(tmp_path, "train.precision=bf16")
    run.train()
    kinds = {p.dtype for module in (run.state.model, run.state.target) for p in module.parameters()}
    kinds |= {value.dtype for state in run.state.optimizer.state.values() for value in state.values()}
    assert kinds == {torch.float32}
    assert run.accelerator.mixed_precision == "bf16"
