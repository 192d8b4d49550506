"""Masks that follow training: the share of it that is done reaches strategies, whatever reads the data and where."""

from __future__ import annotations

import json
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from toy import toy_config
from typer.testing import CliRunner

from jepa_core.checkpoint import RunFolder
from jepa_core.cli import app
from jepa_core.config import Section
from jepa_core.data import Collate, SignalDataset
from jepa_core.loading import Loader
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import measure
from jepa_core.model import Parts
from jepa_core.order import Order, Share, StepSampler, portions_of
from jepa_core.plugin import Masking
from jepa_core.registry import maskings
from jepa_core.trainer import Trainer
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

pytestmark = pytest.mark.usefixtures("toy", "hardening")


class HardeningConfig(Section):
    """Hides the grid's last row, and later in training its first."""

    name: Literal["hardening"] = "hardening"
    """The registered name."""


class Hardening:
    """A sample is hard (its first row is hidden) with a probability that is the progress."""

    seen: list[float]

    def __init__(self, config: HardeningConfig, grid: TokenGrid) -> None:
        self.grid, self.row = grid, grid.shape[1]
        self.budgets = (TokenBudget(grid.num_tokens - self.row, 1, self.row),)
        self.seen = []

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        self.seen.append(random.progress)
        hard = random.uniform(1) < random.progress
        cells = np.arange(self.grid.num_tokens)
        context = np.where(hard, cells[self.row :], cells[: -self.row])
        return (MaskView.of(context, np.where(hard, cells[: self.row], cells[-self.row :])[:, None]),)


@pytest.fixture
def hardening() -> Generator[None]:
    plugin = Masking("hardening", HardeningConfig, Hardening, "hard rows come later, for tests", num_axes=(2,))
    with maskings.temporarily(plugin):
        yield


def targets(share: Share, *, workers: int = 0, start: int = 0, count: int = 8) -> list[torch.Tensor]:
    """The target cells of every pass of one process, of a run of 8 steps."""
    parts = Parts.of(toy_config("masking={name: hardening}"))
    source = parts.modality.source(parts.config.modality, "pretrain")
    dataset = SignalDataset(source, parts.modality.transform(parts.config.modality, train=True), seed=3)
    collate = Collate(parts.masking, 3, parts.modality.signal_shape(parts.config.modality))
    sampler = StepSampler(Order(3, portions_of(source)), share, start, steps=8)
    room = collate.room(share.micro_batch)
    with Loader(dataset, collate, sampler, workers=workers, timeout=None, room=room) as loader:
        return [batch.views[0].targets for batch in islice(loader, count)]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


def test_masks_that_follow_training_do_not_depend_on_workers_or_resuming() -> None:
    straight = targets(Share(8))
    hard = [(masks == 0).any((1, 2)).float().mean().item() for masks in straight]
    assert hard[0] == 0
    assert 0 < sum(hard[:4]) < sum(hard[4:])
    assert same(straight, targets(Share(8), workers=2))
    assert same(straight[5:], targets(Share(8), workers=2, start=5, count=3))


def test_masks_that_follow_training_do_not_depend_on_accumulation_or_processes() -> None:
    straight = targets(Share(8))
    passes = targets(Share(8, accumulate=2), count=16)
    ranks = [targets(Share(8, world=2, rank=rank)) for rank in range(2)]
    assert same(straight, [torch.cat(pair) for pair in zip(passes[::2], passes[1::2], strict=True)])
    assert same(straight, [torch.cat(pair) for pair in zip(*ranks, strict=True)])


def test_the_trainer_tells_which_share_of_its_steps_is_done(tmp_path: Path) -> None:
    for resume in (False, True):
        run = Trainer(toy_config("masking={name: hardening}", "train.steps=4"), RunFolder(tmp_path), resume=resume)
        strategy = run.parts.masking
        assert isinstance(strategy, Hardening)
        if not resume:
            run.on_row = lambda row: _interrupt() if row["step"] == 1 else None
        assert run.train() == ("done" if resume else "interrupted")
        assert strategy.seen == ([0.5, 0.75] if resume else [0.0, 0.25])


def _interrupt() -> None:
    import signal

    signal.raise_signal(signal.SIGTERM)


def test_progress_stays_a_share_where_updates_were_skipped() -> None:
    sampler = StepSampler(Order(0, portions_of([0] * 10)), Share(2), start=7, steps=8)  # pyright: ignore[reportArgumentType]
    assert [keys[0].progress for keys in islice(sampler, 3)] == [7 / 8, 1.0, 1.0]


def test_no_random_number_depends_on_progress_and_every_derived_stream_knows_it() -> None:
    early, late = (SampleRandom.of(0, [SampleKey(1, index, at) for index in range(4)]) for at in (0.0, 0.75))
    assert (early.progress, late.progress) == (0.0, 0.75)
    assert late.fork(3).progress == late.rows(slice(2)).progress == 0.75
    assert np.array_equal(early.fork(3).words(5), late.fork(3).words(5))
    assert np.array_equal(early.words(5), late.words(5))


def test_measured_masks_are_those_of_the_asked_point_of_training() -> None:
    strategy = Parts.of(toy_config("masking={name: hardening}")).masking
    rates = [measure(strategy, 400, progress=at).views[0].target_rate[0, 0] for at in (0.0, 0.5, 1.0)]
    assert rates == [0, pytest.approx(0.5, abs=0.1), 1]


def test_the_command_shows_masks_at_a_point_of_training(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("modality: {name: toy}\nmasking: {name: hardening}\n")
    picture = tmp_path / "late.png"
    late = CliRunner().invoke(app, ["masks", str(path), "--progress", "1", "--out", str(picture), "--samples", "50"])
    assert late.exit_code == 0, late.output
    assert "50 samples in batches of 16, 100% of training done" in late.output
    told = json.loads(CliRunner().invoke(app, ["masks", str(path), "--json", "--progress", "1"]).output)
    assert (told["progress"], told["views"][0]["target_rate"][0][0]) == (1.0, 1.0)
    assert CliRunner().invoke(app, ["masks", str(path), "--progress", "1.5"]).exit_code == 2
