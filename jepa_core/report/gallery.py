"""What a report shows of samples: masks, features as colours, nearest neighbours; a function of a run's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.checkpoint import RunFolder, Which
from jepa_core.data import MASKS
from jepa_core.errors import DataError, UnreadableSample
from jepa_core.features import BATCH_SIZE
from jepa_core.frozen import FrozenEncoder, load, pool, untrained_encoder
from jepa_core.masking import SampleRandom
from jepa_core.model import Parts
from jepa_core.plugin import Source, Split, Transform
from jepa_core.report import pictures
from jepa_core.types import SampleKey, TokenGrid

NUM_SHOWN = 6
"""Samples in the mask gallery and in the feature maps."""
NUM_QUERIES = 8
"""Rows of nearest neighbours."""
NUM_NEIGHBOURS = 6
"""Neighbours per row."""
NUM_CANDIDATES = 1000
"""Samples among which neighbours are looked for: a picture of the features, not an evaluation."""
NUM_COMPONENT_SAMPLES = 48
"""Samples whose tokens decide the principal components."""

_HEIGHT, _HEIGHT_OF_SLICES, _HEIGHT_OF_NEIGHBOURS = 176, 112, 84

_Item = tuple[int, Tensor]  # position in its source, and signal


@dataclass(frozen=True)
class Sample:
    """One sample of a split, as a person sees it."""

    where: str
    """Path or identifier."""
    label: str
    """Class name under the first heading, or ""."""
    slices: list[np.ndarray]
    """Pictures (height, width, 3) uint8, one per slice of the grid."""


@dataclass(frozen=True)
class MaskedSample:
    """One sample under one mask view."""

    sample: Sample
    drawn: list[np.ndarray]
    """As `Sample.slices`, with the masks."""


@dataclass(frozen=True)
class MaskGallery:
    """Several samples under one mask view."""

    num_context: int
    num_targets: int
    target_size: int
    samples: list[MaskedSample]


@dataclass(frozen=True)
class FeatureMaps:
    """Token features as colours; two encoders side by side."""

    samples: list[Sample]
    trained: list[list[np.ndarray]]
    """Per sample, as `Sample.slices`."""
    untrained: list[list[np.ndarray]]
    """The same of an encoder that was never trained."""
    explained: tuple[float, float]
    """Share of the token variance in the three components, of either encoder."""


@dataclass(frozen=True)
class Neighbours:
    """A query and the candidates whose pooled features have the greatest cosine with its own."""

    query: Sample
    found: list[tuple[Sample, float]]


@dataclass(frozen=True)
class FeatureGallery:
    """What a trained encoder makes of samples."""

    which: Which
    """The target encoder, or the context encoder of a run that has no other."""
    heading: str
    """What the labels are, or ""."""
    num_candidates: int
    """Samples among which the neighbours were looked for."""
    maps: FeatureMaps
    neighbours: list[Neighbours]


def mask_galleries(parts: Parts) -> list[MaskGallery]:
    """Masks of the run on test samples, one gallery per mask view; raises a JepaError where there is no data."""
    split = _Split.of(parts, "probe_test")
    shown = split.spread()[:NUM_SHOWN]
    keys = [SampleKey(epoch=0, index=index) for index, _ in shown]
    views = parts.masking(SampleRandom.of(parts.config.seed, keys, purpose=MASKS))
    galleries: list[MaskGallery] = []
    for view, budget in zip(views, parts.masking.budgets, strict=True):
        samples: list[MaskedSample] = []
        for item, context, targets in zip(shown, view.context.numpy(), view.targets.numpy(), strict=True):
            sample = split.sample(item, _height(parts.grid))
            drawn = pictures.draw_masks(np.concatenate(sample.slices, axis=1), parts.grid, context, targets)
            samples.append(MaskedSample(sample, drawn))
        galleries.append(MaskGallery(budget.context, budget.num_targets, budget.target, samples))
    return galleries


def feature_gallery(path: Path, checkpoint: str = "latest") -> FeatureGallery:
    """Feature maps and neighbours of a run; raises a JepaError where there is no checkpoint or no data.

    The demo's model takes about 3 s on one core; a ViT-H on a CPU some minutes (it runs on a GPU where there is one).
    """
    has_target = (RunFolder(path).find(checkpoint) / "target_encoder.safetensors").exists()
    which: Which = "target" if has_target else "context"  # official weights may come without a target encoder
    trained = load(path, which, checkpoint)
    untrained = FrozenEncoder(trained.parts, untrained_encoder(trained.parts), which, 0, trained.device)
    queries, candidates = _Split.of(trained.parts, "probe_test"), _Split.of(trained.parts, "probe_train")
    shown, others = queries.spread(), candidates.drawn(NUM_CANDIDATES)
    samples = [queries.sample(item, _height(trained.grid)) for item in shown[:NUM_SHOWN]]
    tokens = torch.cat(list(_tokens(trained, shown)))
    maps = [_feature_maps(trained.grid, samples, each) for each in (tokens, torch.cat(list(_tokens(untrained, shown))))]
    pooled = torch.cat([pool(batch) for batch in _tokens(trained, others)])
    return FeatureGallery(
        which=which,
        heading=queries.heading,
        num_candidates=len(others),
        maps=FeatureMaps(samples, maps[0][0], maps[1][0], (maps[0][1], maps[1][1])),
        neighbours=_neighbours(queries, shown[:NUM_QUERIES], pool(tokens), candidates, others, pooled),
    )


@dataclass(frozen=True)
class _Split:
    """One split with what turns its samples into signals and pictures."""

    parts: Parts
    source: Source
    transform: Transform

    @classmethod
    def of(cls, parts: Parts, split: Split) -> _Split:
        config = parts.config.modality
        return cls(parts, parts.modality.source(config, split), parts.modality.transform(config, train=False))

    @property
    def heading(self) -> str:
        return next(iter(self.source.labels), "")

    def spread(self) -> list[_Item]:
        """NUM_COMPONENT_SAMPLES readable samples from all over the source; the first ones have different labels."""
        most = min(NUM_COMPONENT_SAMPLES, len(self.source))
        index = np.random.default_rng(0).permutation(np.linspace(0, len(self.source) - 1, most).astype(int))
        labels = self.source.labels.get(self.heading)
        ids = labels.ids[index] if labels else np.zeros(most, dtype=int)
        earlier = [int((ids[:place] == ids[place]).sum()) for place in range(most)]
        return self._readable(index[np.argsort(earlier, kind="stable")])

    def drawn(self, most: int) -> list[_Item]:
        """Readable samples without a system."""
        return self._readable(np.random.default_rng(0).permutation(len(self.source))[:most])

    def _readable(self, indices: np.ndarray) -> list[_Item]:
        found: list[_Item] = []
        for index in indices.tolist():
            try:
                raw = self.source.read(index)
            except UnreadableSample:
                continue  # the trainer counts them; a picture needs another
            found.append((index, self.transform(raw, torch.Generator().manual_seed(0))))
        if not found:
            raise DataError("None of the samples that would be shown can be read. See: jepa doctor")
        return found

    def picture(self, signal: Tensor, height: int) -> np.ndarray:
        return pictures.resize(self.parts.modality.picture(self.parts.config.modality, signal), height)

    def sample(self, item: _Item, height: int) -> Sample:
        index, signal = item
        labels = self.source.labels.get(self.heading)
        label = labels.names[labels.ids[index]] if labels else ""
        return Sample(self.source.where(index), label, pictures.split(self.picture(signal, height), self.parts.grid))


def _tokens(encoder: FrozenEncoder, items: Sequence[_Item]) -> Iterator[Float[Tensor, "batch token dim"]]:
    """Tokens on the CPU, a batch at a time."""
    for start in range(0, len(items), BATCH_SIZE):
        signal = torch.stack([signal for _, signal in items[start : start + BATCH_SIZE]])
        yield encoder.tokens(signal).float().cpu()


def _height(grid: TokenGrid) -> int:
    return _HEIGHT if pictures.num_slices(grid) == 1 else _HEIGHT_OF_SLICES


def _feature_maps(
    grid: TokenGrid, samples: Sequence[Sample], tokens: Float[Tensor, "more token dim"]
) -> tuple[list[list[np.ndarray]], float]:
    """The cells of the first samples in the colours of their tokens, and the share of variance that these show."""
    colours, explained = pictures.feature_colours(tokens.numpy())
    painted = [
        pictures.paint_cells(cells, grid, [part.shape for part in sample.slices])
        for cells, sample in zip(colours, samples, strict=False)  # more samples decide than are shown
    ]
    return painted, explained


def _neighbours(
    queries: _Split,
    shown: Sequence[_Item],
    features: Float[Tensor, "queries dim"],
    candidates: _Split,
    others: Sequence[_Item],
    other_features: Float[Tensor, "candidates dim"],
) -> list[Neighbours]:
    unit = torch.nn.functional.normalize
    cosines, order = (unit(features[: len(shown)]) @ unit(other_features).T).topk(min(NUM_NEIGHBOURS, len(others)))
    rows: list[Neighbours] = []
    for item, row_cosines, row in zip(shown, cosines.tolist(), order.tolist(), strict=True):
        found = [candidates.sample(others[place], _HEIGHT_OF_NEIGHBOURS) for place in row]
        query = queries.sample(item, _HEIGHT_OF_NEIGHBOURS)
        rows.append(Neighbours(query, list(zip(found, row_cosines, strict=True))))
    return rows
