"""For every check of modalities one modality that is complete but for one mistake; a fresh interpreter imports them.

Importing this module imports no torch, as the plugin interface asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from complete_toy import SMALLEST, CompleteToy
from pydantic import ConfigDict, Field
from toy import ToyConfig

from jepa_core.plugin import Source, Split, Transform, WeightFormat
from jepa_core.types import Player, TokenGrid

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class OfAnEarlierInterface(CompleteToy):
    api_version: ClassVar[int] = 0


class Talkative(CompleteToy):
    summary: ClassVar[str] = "waves\non a grid"


class NamedDifferently(CompleteToy):
    class Config(ToyConfig):
        """Waves."""

        name: Literal["toy", "waves"] = "waves"
        """The registered name."""


class Forgetful(CompleteToy):
    class Config(ToyConfig):
        """Waves."""

        colour: int = Field(default=0, exclude=True)
        """Is not written."""

    def sample(self) -> str:
        return SMALLEST.replace("{name: toy}", "{name: toy, colour: 3}")


class Undocumented(CompleteToy):
    class Config(ToyConfig):
        """Waves."""

        depth: int = 0


class Tolerant(CompleteToy):
    class Config(ToyConfig):
        """Waves."""

        model_config = ConfigDict(extra="ignore")


class PlansWithTorch(CompleteToy):
    def grid(self, config: ToyConfig) -> TokenGrid:
        import torch

        cells = int(torch.tensor(config.cells))
        return TokenGrid((cells, cells), ("rows", "columns"))


class Misspelt(CompleteToy):
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"large": {"encoder": {"widht": 64}}}


class DemoOfThePast(CompleteToy):
    def demo(self) -> str:
        return "modality: {name: toy, colour: red}"


class FormatsOfTheFuture(CompleteToy):
    formats: ClassVar[Sequence[WeightFormat]] = (WeightFormat("toy", "for tests", "toy_parts:Converter"),)


class _OtherTokenizer(CompleteToy):
    part: ClassVar[str]

    def tokenizer(self, config: ToyConfig, width: int) -> nn.Module:
        import wrong_parts

        return getattr(wrong_parts, self.part)(config.cells, config.cell, width)


class OneTokenMore(_OtherTokenizer):
    part = "ClassToken"


class KeepsInOrder(_OtherTokenizer):
    part = "Sorting"


class Centred(_OtherTokenizer):
    part = "Centring"


class CentredOnTheBatch(_OtherTokenizer):
    part = "BatchCentring"


class HiddenWeights(_OtherTokenizer):
    part = "WithList"


class UnusedWeights(_OtherTokenizer):
    part = "WithUnused"


class SharedWeights(_OtherTokenizer):
    part = "Sharing"


class Counting(_OtherTokenizer):
    part = "Counting"


class Downloads(CompleteToy):
    def source(self, config: ToyConfig, split: Split) -> Source:
        import socket

        socket.getaddrinfo("localhost", 80)
        return super().source(config, split)


class _OtherSource(CompleteToy):
    part: ClassVar[str]

    def source(self, config: ToyConfig, split: Split) -> Source:
        import wrong_parts

        return getattr(wrong_parts, self.part)(super().source(config, split), split)


class Locked(_OtherSource):
    part = "WithLock"


class StepsBack(_OtherSource):
    part = "Stale"


class TooFewNames(_OtherSource):
    part = "Nameless"


class Anonymous(_OtherSource):
    part = "Unlocated"


class _OtherTransform(CompleteToy):
    part: ClassVar[str]
    when: ClassVar[bool]

    def transform(self, config: ToyConfig, train: bool) -> Transform:
        import wrong_parts

        right = super().transform(config, train)
        return getattr(wrong_parts, self.part)(right) if train == self.when else right


class Seeds(_OtherTransform):
    part, when = "Seeding", True


class TooPrecise(_OtherTransform):
    part, when = "Double", True


class OneViewMissing(CompleteToy):
    def views(self, config: ToyConfig) -> int:
        return 2


class RandomEvaluation(_OtherTransform):
    part, when = "Noisy", False


class GreyWhereDamaged(CompleteToy):
    def open(self, config: ToyConfig, path: str) -> Source:
        import wrong_parts

        return wrong_parts.Grey(super().open(config, path))


class Unguarded(CompleteToy):
    def open(self, config: ToyConfig, path: str) -> Source:
        next(Path(path).iterdir(), None)
        return super().open(config, path)


class NotScaled(CompleteToy):
    def transform(self, config: ToyConfig, train: bool) -> Transform:
        return super().transform(config.model_copy(update={"std": 1.0}), train)


class NotFlat(CompleteToy):
    def baseline(self, config: ToyConfig, signal: Tensor) -> Tensor:
        return signal


class Crops(CompleteToy):
    def controls(self, config: ToyConfig) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"left half": lambda signal: signal[..., : signal.shape[-1] // 2]}


class Floats(CompleteToy):
    def picture(self, config: ToyConfig, signal: Tensor) -> np.ndarray:
        return super().picture(config, signal) / 255


class TooLong(CompleteToy):
    def player(self, config: ToyConfig, raw: Any, max_bytes: int) -> Player | None:
        return Player("audio/wav", bytes(max_bytes + 1))


class HeavyImport(CompleteToy):
    pass


class LoudImport(CompleteToy):
    pass


TWINS: Mapping[str, tuple[type[CompleteToy], str]] = {
    "current_interface": (OfAnEarlierInterface, "expected api_version 1, found 0"),
    "one_line_summary": (Talkative, "expected one line, found 2"),
    "section_bears_the_name": (NamedDifferently, "expected name to be 'toy' by default, found 'waves'"),
    "configuration_round_trip": (Forgetful, "found colour: 3 became 0"),
    "every_field_is_described": (Undocumented, "found none of modality.depth"),
    "unknown_keys_are_refused": (Tolerant, "expected modality.no_such_key to be an unknown key"),
    "light_import": (HeavyImport, "found numpy imported by"),
    "import_leaves_the_process_alone": (LoudImport, "it printed 'hello"),
    "planning_needs_no_torch": (PlansWithTorch, "found that grid or signal_shape imported numpy, torch"),
    "defaults_and_presets_are_valid": (Misspelt, "Did you mean 'width'?"),
    "demo_is_valid": (DemoOfThePast, "modality.colour: unknown key"),
    "weight_formats_load": (
        FormatsOfTheFuture,
        "expected the implementation of 'toy', found that toy_parts:Converter cannot",
    ),
    "one_token_per_cell": (
        OneTokenMore,
        "on the grid 6 x 6 (rows, columns), found (4, 37, 32)",
    ),
    "kept_tokens_equal_the_gathered_ones": (KeepsInOrder, "found differences up to"),
    "hidden_cells_do_not_leak": (
        Centred,
        "found that in training it shares some with 32 others of 36",
    ),
    "samples_do_not_mix": (CentredOnTheBatch, "in training, where the largest value is"),
    "tokenizer_state_round_trip": (HiddenWeights, "expected equal tokens after loading state_dict"),
    "built_in_data_needs_no_download": (Downloads, "the network was asked for"),
    "samples_follow_their_seed": (StepsBack, "expected one signal for (seed 20, epoch 0, index 0), found several"),
    "loader_processes_read_the_same_samples": (Locked, "found TypeError: cannot pickle '_thread.lock' object"),
    "global_random_numbers_are_left_alone": (Seeds, "found that those of torch moved"),
    "training_signals_have_the_stated_shape": (TooPrecise, "expected torch.float32, found torch.float64"),
    "evaluation_signals_have_the_stated_shape": (OneViewMissing, "expected shape (2, 1, 12, 12), found (1, 12, 12)"),
    "evaluation_is_deterministic": (RandomEvaluation, "by the generator"),
    "labels_fit_the_samples": (TooFewNames, "probe_train, direction: expected ids from -1 to 0, found 0 to 3"),
    "every_sample_has_a_name_of_its_own": (Anonymous, "expected 32 different names, found 1: 'a wave' 32 times"),
    "damaged_files_are_unreadable_samples": (GreyWhereDamaged, "expected damaged.npy (empty) to be unreadable"),
    "paths_without_samples_are_user_errors": (Unguarded, "found FileNotFoundError"),
    "statistics_normalise": (
        NotScaled,
        "with the measured mean and std, found deviation 0.",
    ),
    "baseline_is_one_vector_per_sample": (NotFlat, "expected (4, features) of floats, found (4, 1, 12, 12)"),
    "controls_keep_the_shape": (Crops, "left half: expected shape (4, 1, 12, 12), found (4, 1, 12, 6)"),
    "picture_shows_every_cell": (Floats, "found ndarray of float64"),
    "player_keeps_to_its_size": (TooLong, "expected at most 100,000 bytes, found 100,001"),
    "one_step_trains_the_tokenizer": (UnusedWeights, "found that these did not: unused"),
    "one_step_leaves_the_target_alone": (
        SharedWeights,
        "a gradient in encoder.tokenizer.project.weight",
    ),
    "resumed_equals_uninterrupted": (Counting, "expected at step 2 the loss"),
}
"""The check that it must fail, alone, and what the message must say."""
OF_TRAINING = {"one_step_trains_the_tokenizer", "one_step_leaves_the_target_alone", "resumed_equals_uninterrupted"}
SILENCED: Mapping[str, set[str]] = {
    "light_import": {"import_leaves_the_process_alone"},
    "one_token_per_cell": {
        *("kept_tokens_equal_the_gathered_ones", "hidden_cells_do_not_leak", "samples_do_not_mix"),
        *("tokenizer_state_round_trip", *OF_TRAINING),
    },
    "training_signals_have_the_stated_shape": OF_TRAINING,
    "evaluation_signals_have_the_stated_shape": {
        *("baseline_is_one_vector_per_sample", "controls_keep_the_shape", "picture_shows_every_cell"),
    },
}
"""Of a twin's other checks, those that cannot say anything because of its mistake; all others pass."""
