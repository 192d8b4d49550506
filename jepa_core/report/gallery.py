"""What a report shows of samples: masks, features as colours, nearest neighbours; a function of a run's checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from jepa_core.checkpoint import RunFolder, Which
from jepa_core.data import MASKS
from jepa_core.errors import DataError, PluginIncompatible, UnreadableSample
from jepa_core.features import BATCH_SIZE
from jepa_core.frozen import FrozenEncoder, load, untrained_encoder
from jepa_core.masking import SampleRandom
from jepa_core.model import Parts
from jepa_core.plugin import Source, Split, Transform
from jepa_core.report import pictures
from jepa_core.types import Player, SampleKey, TokenGrid

NUM_SHOWN = 6
"""Samples in the mask gallery and in the feature maps."""
NUM_QUERIES = 8
"""Rows of nearest neighbours."""
NUM_NEIGHBOURS = 6
"""Neighbours per row."""
NUM_CANDIDATES = 1000
"""Samples among which neighbours are looked for: a picture of the features, not an evaluation."""
NUM_COMPONENT_SAMPLES = 24
"""Samples whose tokens decide the principal components."""
MAX_PLAYED = 4_000_000
"""Bytes of all players of a run; in a page they take a third more."""
_MAX_PLAYER = MAX_PLAYED // (NUM_QUERIES * (1 + NUM_NEIGHBOURS))

_HEIGHT, _HEIGHT_OF_SLICES, _HEIGHT_OF_NEIGHBOURS = 176, 112, 120

_Item = tuple[int, Tensor]  # position in its source, and signal


@dataclass(frozen=True)
class Sample:
    """One sample of a split, as a person sees it."""

    where: str
    """Path or identifier."""
    label: str
    """Class name under the first heading, or ""."""
    slices: list[np.ndarray]
    """Pictures (height, width, 3) uint8, one per slice of the grid, with or without masks; the first for neighbours."""
    player: Player | None = None
    """What plays, for neighbours."""

    @property
    def aspect(self) -> float:
        """Width of all slices, side by side, over their height."""
        return sum(part.shape[1] for part in self.slices) / self.slices[0].shape[0]


@dataclass(frozen=True)
class MaskGallery:
    """Several samples under one mask view."""

    num_context: int
    num_targets: int
    target_size: int
    heading: str
    """What the labels are, or ""."""
    samples: list[Sample]
    """With the masks drawn on them."""


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
        samples: list[Sample] = []
        for item, context, targets in zip(shown, view.context.numpy(), view.targets.numpy(), strict=True):
            picture = split.picture(item, _height(parts.grid))
            samples.append(split.sample(item, pictures.draw_masks(picture, parts.grid, context, targets)))
        galleries.append(MaskGallery(budget.context, budget.num_targets, budget.target, split.heading, samples))
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
    shown = queries.spread()
    signals = torch.stack([signal for _, signal in shown])
    tokens = trained.tokens(signals).float().cpu()
    pooled, places = _candidates(trained, candidates)
    cosines = normalize(trained.parts.pooling(tokens[:NUM_QUERIES])) @ normalize(pooled).T
    return FeatureGallery(
        which=which,
        heading=queries.heading,
        num_candidates=len(places),
        maps=_feature_maps(queries, shown[:NUM_SHOWN], tokens, untrained.tokens(signals).float().cpu()),
        neighbours=_neighbours(queries, shown, candidates, places, cosines),
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
        return self.readable(index[np.argsort(earlier, kind="stable")].tolist())

    def readable(self, indices: Sequence[int]) -> list[_Item]:
        """Those samples that can be read, the first view of each; raises DataError where there is none."""
        found: list[_Item] = []
        for index in indices:
            try:
                signal = self.transform(self.source.read(index), torch.Generator())
            except UnreadableSample:
                continue  # the trainer counts them; a picture needs another
            found.append((index, signal[0] if self.parts.modality.views(self.parts.config.modality) > 1 else signal))
        if not found:
            raise DataError("None of the samples that would be shown can be read. See: jepa doctor")
        return found

    def picture(self, item: _Item, height: int) -> np.ndarray:
        """Of all slices; row 0 is that of the grid."""
        return pictures.resize(self.parts.modality.picture(self.parts.config.modality, item[1]), height)

    def upright(self, slices: list[np.ndarray]) -> list[np.ndarray]:
        """As a person sees them."""
        upward = pictures.runs_upward(self.parts.grid, self.parts.modality.upward)
        return [part[::-1] for part in slices] if upward else slices

    def sample(self, item: _Item, slices: list[np.ndarray], player: Player | None = None) -> Sample:
        labels = self.source.labels.get(self.heading)
        label = labels.name_of(item[0]) if labels else ""
        return Sample(self.source.where(item[0]), label, self.upright(slices), player)

    def neighbour(self, item: _Item) -> Sample:
        """The first slice, and a player where the modality has one."""
        picture = self.picture(item, _HEIGHT_OF_NEIGHBOURS)
        return self.sample(item, pictures.split(picture, self.parts.grid)[:1], self._player(item[0]))

    def _player(self, index: int) -> Player | None:
        modality = self.parts.modality
        try:
            player = modality.player(self.parts.config.modality, self.source.read(index), _MAX_PLAYER)
        except UnreadableSample:
            return None  # a moment ago it was readable: its picture is shown
        if player and len(player.content) > _MAX_PLAYER:
            raise PluginIncompatible(
                f"modality {modality.name}: its player of {self.source.where(index)} has {len(player.content):,} "
                f"bytes, and {_MAX_PLAYER:,} are allowed. Its author must honour max_bytes of Modality.player."
            )
        return player


def _candidates(encoder: FrozenEncoder, split: _Split) -> tuple[Float[Tensor, "candidates dim"], list[int]]:
    """Pooled features of NUM_CANDIDATES samples drawn without a system, and which they are; signals are not kept."""
    order = np.random.default_rng(0).permutation(len(split.source))[:NUM_CANDIDATES].tolist()
    pooled: list[Tensor] = []
    places: list[int] = []
    for start in range(0, len(order), BATCH_SIZE):
        items = split.readable(order[start : start + BATCH_SIZE])
        pooled.append(encoder.embed(torch.stack([signal for _, signal in items])).cpu())
        places += [index for index, _ in items]
    return torch.cat(pooled), places


def _height(grid: TokenGrid) -> int:
    return _HEIGHT if pictures.num_slices(grid) == 1 else _HEIGHT_OF_SLICES


def _feature_maps(
    split: _Split,
    shown: Sequence[_Item],
    trained: Float[Tensor, "more token dim"],
    untrained: Float[Tensor, "more token dim"],
) -> FeatureMaps:
    """More samples decide on the components than are shown."""
    grid = split.parts.grid
    slices = [pictures.split(split.picture(item, _height(grid)), grid) for item in shown]
    painted: list[list[list[np.ndarray]]] = []
    explained: list[float] = []
    for tokens in (trained, untrained):
        colours, share = pictures.feature_colours(tokens.numpy())
        explained.append(share)
        pairs = zip(colours[: len(slices)], slices, strict=True)
        painted.append(
            [split.upright(pictures.paint_cells(cells, grid, [part.shape for part in each])) for cells, each in pairs]
        )
    samples = [split.sample(item, each) for item, each in zip(shown, slices, strict=True)]
    return FeatureMaps(samples, painted[0], painted[1], (explained[0], explained[1]))


def _neighbours(
    queries: _Split,
    shown: Sequence[_Item],
    candidates: _Split,
    places: Sequence[int],
    cosines: Float[Tensor, "queries candidates"],
) -> list[Neighbours]:
    best, order = cosines.topk(min(NUM_NEIGHBOURS, len(places)))
    rows: list[Neighbours] = []
    for item, row_cosines, row in zip(shown[: len(cosines)], best.tolist(), order.tolist(), strict=True):
        found = candidates.readable([places[each] for each in row])
        samples = [candidates.neighbour(each) for each in found]
        rows.append(Neighbours(queries.neighbour(item), list(zip(samples, row_cosines, strict=True))))
    return rows
