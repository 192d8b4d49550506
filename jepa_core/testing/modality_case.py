"""What the checks of a modality are given: its smallest run, and what is computed of it once for all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jepa_core.checkpoint import RunFolder
from jepa_core.config import RunConfig, Section
from jepa_core.config.base import merge
from jepa_core.config.schema import inside
from jepa_core.config.text import dump, parse_mapping
from jepa_core.data import SignalDataset
from jepa_core.errors import ConfigError
from jepa_core.masking import seed_of
from jepa_core.metrics import read_log
from jepa_core.plugin import Modality, Source, Split
from jepa_core.recipes import read_config
from jepa_core.testing import elsewhere, fresh
from jepa_core.testing.checks import Case, NotApplicable, require
from jepa_core.trainer import Trainer
from jepa_core.types import SampleKey, TokenGrid

SAMPLES = 4
"""How many samples the checks look at."""
WIDTH = 32
"""Channels of the tokens in checks of the tokenizer."""
SEED = 20
CLOSE = 1e-4
"""Largest difference of two ways to compute a token, relative to the largest value: rounding, in fp32."""
SHORT = {
    "train": {
        "steps": 2,
        "batch_size": 8,
        "accumulate": 1,
        "log_every": 1,
        "precision": "fp32",
        "compile": False,
        "workers": 0,
    },
    "optim": {"lr": {"warmup": 0.0}},
    "checkpoint": {"every": 1, "keep_last": 2},
    "collapse": {"stop": False},
    "tracking": {"trackers": ()},
}
"""Over the plugin's own smallest run, or the given configuration: a few steps that compute the same on any machine."""
ONE_STEP = {
    "train": {"steps": 1},
    "optim": {"weight_decay": {"value": 0.0, "end": 0.0}},
    "ema": {"half_life_samples": None, "momentum": {"value": 1.0, "end": 1.0, "warmup": 0.0}},
}
"""An update in which a weight moves by its gradient alone, and the target encoder not at all."""


@dataclass(frozen=True)
class Step:
    """What one update did."""

    row: Mapping[str, Any]
    """Its row of metrics.jsonl."""
    still: tuple[str, ...]
    """Trainable parameters of the tokenizer that did not move."""
    target_moved: tuple[str, ...]
    """Parameters of the target encoder that moved, or have a gradient."""


@dataclass(frozen=True, kw_only=True)
class ModalityCase(Case):
    """A modality in the given configuration or in that of `Modality.sample`, with a few steps."""

    plugin: Modality

    @cached_property
    def values(self) -> dict[str, Any]:
        """The run as plain values; raises NotApplicable where there is no data to run on."""
        text = self.plugin.sample() if self.text is None else self.text
        if text is None:
            raise NotApplicable("it has no built-in data (Modality.demo); give a configuration: --config FILE")
        values = merge(merge(parse_mapping(text, "the configuration"), SHORT), self.overrides)
        named = inside(values.get("modality"), "name")
        if named != self.name:
            raise ConfigError(f"modality.name: the configuration is one of '{named}', and '{self.name}' is checked")
        return values

    def config_with(self, changes: Mapping[str, Any]) -> RunConfig:
        """The run with some values changed."""
        return read_config(text=dump(merge(self.values, changes)))

    @cached_property
    def config(self) -> RunConfig:
        """The whole run."""
        return self.config_with({})

    @cached_property
    def section(self) -> Section:
        """That of the run, or else the default one."""
        try:
            return self.config.modality
        except NotApplicable:
            return super().section

    @cached_property
    def grid(self) -> TokenGrid:
        """The token grid."""
        return self.plugin.grid(self.section)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one signal."""
        return tuple(self.plugin.signal_shape(self.section))

    def source(self, split: Split = "pretrain") -> Source:
        """A source of the run's data, made anew."""
        return self.plugin.source(self.config.modality, split)

    def dataset(self) -> SignalDataset:
        """Signals of pretraining, made anew."""
        return SignalDataset(self.source(), self.plugin.transform(self.config.modality, train=True), SEED)

    @cached_property
    def keys(self) -> list[SampleKey]:
        """The first readable samples of pretraining, each in two passes over the data."""
        dataset, found = self.dataset(), list[int]()
        for index in range(min(len(dataset), 10 * SAMPLES)):
            if len(found) < SAMPLES and isinstance(dataset[SampleKey(0, index)][1], Tensor):
                found.append(index)
        require(bool(found), f"expected samples of pretraining, found {len(dataset)} of which the first are unreadable")
        return [SampleKey(epoch, index) for epoch in (0, 1) for index in found]

    def raw(self) -> list[Any]:
        """The samples of `keys` as the source reads them; anew each time, for they may be handles to be used once."""
        source = self.source()
        return [source.read(index) for index in dict.fromkeys(key.index for key in self.keys)]

    @cached_property
    def evaluated(self) -> list[Tensor]:
        """The same as evaluation preprocesses them."""
        transform = self.plugin.transform(self.config.modality, train=False)
        return [transform(raw, torch.Generator().manual_seed(SEED)) for raw in self.raw()]

    @property
    def evaluation_shape(self) -> tuple[int, ...]:
        """Of what the transform of evaluation gives: one signal, or a stack of views."""
        views = self.plugin.views(self.section)
        return (views, *self.shape) if views > 1 else self.shape

    @cached_property
    def signals(self) -> Tensor:
        """(samples, *shape) of evaluation, of each the first view; raises NotApplicable where they do not fit."""
        if any(misfit(signal, self.evaluation_shape) for signal in self.evaluated):
            raise NotApplicable("its signals do not fit: see evaluation_signals_have_the_stated_shape")
        return torch.stack(self.evaluated).reshape(len(self.evaluated), -1, *self.shape)[:, 0]

    @cached_property
    def noise(self) -> Tensor:
        """(SAMPLES, *shape) of normally distributed signals, for modules to compute with."""
        return torch.randn(SAMPLES, *self.shape, generator=torch.Generator().manual_seed(SEED))

    def tokenizer(self, seed: int = SEED) -> nn.Module:
        """A tokenizer in evaluation mode, initialised from the seed; torch's global generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed))
            found: Any = self.plugin.tokenizer(self.section, WIDTH)
        require(isinstance(found, nn.Module), f"expected an nn.Module from `tokenizer`, found {found!r:.80}")
        return found.eval()

    def tokens_of(self, signal: Tensor, training: bool, keep: Tensor | None = None) -> Tensor:
        """What a new tokenizer gives, in one of its modes; what it draws there is the same in every call."""
        module = self.tokenizer().train(training)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(SEED))
            return module(signal, keep)

    @cached_property
    def tokens(self) -> Tensor:
        """(SAMPLES, cells, WIDTH) of `noise`; raises NotApplicable where the tokenizer gives something else."""
        tokens = self.tokenizer()(self.noise, None)
        if tuple(tokens.shape) != (SAMPLES, self.grid.num_tokens, WIDTH):
            raise NotApplicable("the tokenizer does not fit the grid: see one_token_per_cell")
        return tokens.detach()

    def require_trainable(self) -> None:
        """Raise NotApplicable where training would only say again what other checks say."""
        self.tokens  # noqa: B018 - it raises
        dataset = self.dataset()
        if any(misfit(dataset[key][1], self.shape) for key in self.keys):
            raise NotApplicable("its signals do not fit: see training_signals_have_the_stated_shape")

    @property
    def plan_job(self) -> fresh.Job:
        """`elsewhere.planned`, for this plugin."""
        return elsewhere.planned, (self.plugin, self.section)

    @cached_property
    def planned(self) -> Any:
        """What it gives in a fresh interpreter."""
        return fresh.call(self.plan_job)[0]

    @property
    def visit_jobs(self) -> tuple[fresh.Job, fresh.Job]:
        """`elsewhere.opened` and `elsewhere.read`, for this plugin."""
        dataset = self.dataset()
        for key in self.keys:
            dataset[key]  # what it opens or caches by that must not hinder its journey
        return (elsewhere.opened, (self.plugin, self.config.modality)), (elsewhere.read, (dataset, self.keys))

    @cached_property
    def visit(self) -> Sequence[Any]:
        """What they give in a fresh interpreter."""
        return fresh.call(*self.visit_jobs)

    @cached_property
    def step(self) -> Step:
        """The first update of the run."""
        self.require_trainable()
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            trainer = Trainer(self.config_with(ONE_STEP), RunFolder(Path(folder)))
            tokenizer, target = trainer.state.model.encoder.tokenizer, trainer.state.target
            before, target_before = _copied(tokenizer), _copied(target)
            trainer.train()
            (row,) = read_log(trainer.run.metrics_path)
        trainable = [name for name, parameter in tokenizer.named_parameters() if parameter.requires_grad]
        return Step(
            row,
            tuple(name for name in trainable if name not in _moved(tokenizer, before)),
            _moved(target, target_before),
        )


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def _moved(module: nn.Module, before: Mapping[str, Tensor]) -> tuple[str, ...]:
    named = module.named_parameters()
    return tuple(name for name, each in named if each.grad is not None or not torch.equal(each, before[name]))


def misfit(signal: Any, shape: tuple[int, ...]) -> str:
    """In which way something is no finite float32 tensor of a shape: "expected ..., found ..."; empty where it is."""
    if not isinstance(signal, Tensor):
        return f"expected a tensor, found {signal!r:.80}"
    if tuple(signal.shape) != shape:
        return f"expected shape {shape}, found {tuple(signal.shape)}"
    if signal.dtype != torch.float32:
        return f"expected torch.float32, found {signal.dtype}"
    wrong = int((~signal.isfinite()).sum())
    return f"expected finite values, found {wrong} of {signal.numel()} that are not" if wrong else ""
