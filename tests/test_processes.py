from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from toy import toy_config

from jepa_core import processes
from jepa_core.checkpoint import RunFolder
from jepa_core.errors import ConfigError, JepaError, MissingDependency
from jepa_core.optim import resolve_precision
from jepa_core.processes import make_accelerator
from jepa_core.trainer import Trainer

CPU = torch.device("cpu")


def test_auto_precision_is_bf16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for supported, expected in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=supported: answer)
        assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("fp32", CPU) == "no"
    assert resolve_precision("bf16", CPU) == "bf16"


def test_fp16_on_a_cpu_is_refused_with_what_works() -> None:
    with pytest.raises(ConfigError, match=r"train\.precision: fp16 needs a GPU.*bf16, fp32 or auto"):
        resolve_precision("fp16", CPU)


@pytest.mark.usefixtures("toy")
def test_a_group_that_did_not_form_is_no_group_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(**how: Any) -> Accelerator:
        accelerator = Accelerator(**how)
        monkeypatch.setenv("WORLD_SIZE", "4")
        return accelerator

    monkeypatch.setattr(processes, "Accelerator", alone)
    with pytest.raises(JepaError, match="the launcher started 4 processes, and accelerate formed a group of 1"):
        make_accelerator(toy_config(), RunFolder(tmp_path))


@pytest.mark.usefixtures("toy")
def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "get_available_trackers", list)
    with pytest.raises(MissingDependency, match=r"tracking\.trackers: wandb is not installed. Install it: pip install"):
        make_accelerator(toy_config("tracking.trackers=[wandb]"), RunFolder(tmp_path))


@pytest.mark.usefixtures("toy")
def test_tensorboard_is_fed(tmp_path: Path) -> None:
    Trainer(toy_config("tracking.trackers=[tensorboard]", "train.steps=2"), RunFolder(tmp_path)).train()
    assert list((tmp_path / "trackers").rglob("events.out.tfevents.*"))
