"""Evaluation of all tokens, and of several views of each sample."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from toy import toy_config

from jepa_core import features, token_store
from jepa_core.checkpoint import RunFolder
from jepa_core.config import Section
from jepa_core.evaluation import evaluate, score
from jepa_core.features import Extracted, baseline_of, encode_with, extract, raw_tokens
from jepa_core.frozen import FrozenEncoder, load, untrained_encoder
from jepa_core.model import Parts
from jepa_core.plugin import ProbePlugin
from jepa_core.probes import FeatureKind, Features, Score
from jepa_core.probes.labels import Heading
from jepa_core.registry import probes as probe_registry
from jepa_core.types import TokenGrid

pytestmark = pytest.mark.usefixtures("toy")

CPU = torch.device("cpu")


def attentive(steps: int) -> str:
    head = "learning_rates: [0.003], weight_decays: [0.01], heads: 4, batch_size: 32"
    return f"probes=[{{name: attentive, {head}, epochs: 1, min_steps: {steps}}}]"


def extracted(*overrides: str, tokens: bool = True) -> Extracted:
    parts = Parts.of(toy_config(*overrides))
    source = parts.modality.source(parts.config.modality, "probe_train")
    ways = {"random": encode_with(parts, untrained_encoder(parts), CPU, "fp32"), "raw": baseline_of(parts)}
    return extract(parts, source, ways, CPU, "probe_train", tokens=tokens)


def first_signals(count: int, *overrides: str) -> Tensor:
    parts = Parts.of(toy_config(*overrides))
    source = parts.modality.source(parts.config.modality, "probe_train")
    transform = parts.modality.transform(parts.config.modality, train=False)
    return torch.stack([transform(source.read(index), torch.Generator()) for index in range(count)])


def test_an_attentive_probe_has_all_four_representations_and_learns_from_them(toy_run: Path) -> None:
    found = evaluate(RunFolder(toy_run), overrides=[attentive(80), "modality.train_samples=200"], device="cpu")
    assert [each.representation for each in found.results[:4]] == ["target", "context", "random", "raw"]
    side = {each.representation: each.accuracy for each in found.results if each.heading == "side"}
    assert min(side["random"], side["raw"]) > 0.9


def test_a_probe_of_tokens_sees_the_encoders_tokens_and_one_of_pooled_features_none(toy_run: Path) -> None:
    seen: dict[str, Features] = {}

    def watching(kind: FeatureKind) -> Callable[[Section], object]:
        class Watching:
            needs: ClassVar[FeatureKind] = kind

            def __init__(self, config: Section) -> None:
                pass

            def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
                seen.setdefault(kind, test)  # of the target encoder
                return Score(torch.zeros(len(test.labels), dtype=torch.bool))

        return Watching

    class PlainConfig(Section):
        """Nothing to set."""

        name: str = "watching"

    plugins = {kind: ProbePlugin(f"see_{kind}", PlainConfig, watching(kind)) for kind in ("pooled", "tokens")}
    with probe_registry.temporarily(plugins["pooled"]), probe_registry.temporarily(plugins["tokens"]):
        evaluate(RunFolder(toy_run), probes=["see_pooled", "see_tokens"], device="cpu")
    assert seen["pooled"].tokens is None
    given = seen["tokens"]
    assert given.tokens is not None
    encoder = load(toy_run, device="cpu")
    source = encoder.parts.modality.source(encoder.config.modality, "probe_test")
    signal = torch.stack([encoder.preprocess(source.read(index)) for index in range(len(source))])
    torch.testing.assert_close(given.tokens.float(), encoder.tokens(signal), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(given.pooled, encoder.embed(signal), rtol=1e-4, atol=1e-5)


def test_tokens_of_partly_labelled_samples_are_not_copied() -> None:
    tokens, labels = torch.randn(6, 3, 4), torch.tensor([0, -1, 1, 0, -1, 1])
    found = Extracted(torch.arange(6), {"random": tokens.mean(1)}, {"random": tokens}, ())
    seen: list[Features] = []

    class Look:
        needs: ClassVar[FeatureKind] = "tokens"

        def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
            seen.append(train)
            return Score(torch.zeros(len(test.labels), dtype=torch.bool))

    score({"look": Look()}, {"kind": Heading(("a", "b"), labels, labels)}, found, found, 0, CPU)
    (given,) = seen
    assert given.tokens is tokens
    assert given.labels.tolist() == [0, 1, 0, 1]
    assert torch.equal(given.pooled, tokens[[0, 2, 3, 5]].mean(1))
    assert torch.equal(given.tokens_of(torch.tensor([3, 1])), tokens[[5, 2]])


def test_tokens_are_not_kept_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "TokenStore", None)
    assert extracted(tokens=False).tokens == {}


def test_tokens_stay_with_their_samples_when_others_are_unreadable() -> None:
    whole, some = extracted(), extracted("modality.unreadable=[0, 5]", "data.max_unreadable=0.5")
    for name in ("random", "raw"):
        assert torch.equal(some.tokens[name], whole.tokens[name][some.place])


def test_tokens_in_a_file_are_the_same_as_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = extracted()
    monkeypatch.setattr(token_store, "IN_MEMORY", 0)
    in_file = extracted()
    for name, tokens in in_memory.tokens.items():
        assert torch.equal(in_file.tokens[name], tokens)


def test_pooled_features_of_views_are_their_mean_and_tokens_follow_each_other() -> None:
    single, several = extracted(), extracted("modality.views=3")
    parts = Parts.of(toy_config())
    signal = first_signals(4, "modality.views=3")
    assert signal.shape == (4, 3, 1, 12, 12)
    each = [untrained_encoder(parts)(signal[:, view]) for view in range(3)]
    torch.testing.assert_close(several.features["random"][:4], torch.stack(each).mean((0, 2)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(several.tokens["random"][:4].float(), torch.cat(each, 1), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(several.features["raw"][:4], signal.mean(1).flatten(1))
    assert several.tokens["raw"].shape == (64, 3 * 36, 4 + 12)
    for name in ("random", "raw"):
        torch.testing.assert_close(several.tokens[name][:, :36], single.tokens[name], rtol=2e-3, atol=2e-3)


def test_views_do_not_make_batches_larger() -> None:
    parts = Parts.of(toy_config("modality.views=3"))
    source = parts.modality.source(parts.config.modality, "probe_train")
    batches = list(features.signal_batches(parts, source, CPU))
    assert [tuple(batch.signal.shape[:2]) for batch in batches] == [(21, 3)] * 3 + [(1, 3)]


def test_the_processes_of_an_evaluation_end_with_it() -> None:
    before = set(multiprocessing.active_children())
    parts = Parts.of(toy_config("train.workers=1"))
    batches = features.signal_batches(parts, parts.modality.source(parts.config.modality, "probe_train"), CPU)
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == 1
    batches.close()
    assert set(multiprocessing.active_children()) <= before


def test_every_probe_takes_views_and_the_file_says_how_many(toy_run: Path) -> None:
    found = evaluate(
        RunFolder(toy_run), probes=["knn", "attentive"], overrides=[attentive(1), "modality.views=2"], device="cpu"
    )
    assert len(found.results) == 2 * 2 * 4
    assert found.as_json()["views"] == 2


@pytest.fixture
def encoder() -> FrozenEncoder:
    parts = Parts.of(toy_config())
    return FrozenEncoder(parts, untrained_encoder(parts), "target", 0, CPU)


def test_an_encoder_takes_one_view_or_several(encoder: FrozenEncoder) -> None:
    views = torch.randn(2, 3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    tokens = encoder.tokens(views)
    assert tokens.shape == (2, 3 * 36, 32)
    torch.testing.assert_close(tokens[:, 36:72], encoder.tokens(views[:, 1]), rtol=1e-4, atol=1e-5)
    singly = torch.stack([encoder.embed(views[:, number]) for number in range(3)])
    torch.testing.assert_close(encoder.embed(views), singly.mean(0), rtol=1e-4, atol=1e-5)


def test_raw_tokens_are_the_values_of_each_cell_and_its_place() -> None:
    signal = torch.arange(2 * 2 * 6 * 4.0).view(2, 2, 6, 4)
    tokens = raw_tokens(signal, TokenGrid((3, 2), ("rows", "columns")))
    assert tokens.shape == (2, 6, 2 * 2 * 2 + 3 + 2)
    assert torch.equal(tokens[1, 3, :8].view(2, 2, 2), signal[1, :, 2:4, 2:4])
    assert tokens[1, 3, 8:].tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize("shape", [(1, 7, 4), (8,), (1, 2, 3, 2)])
def test_raw_input_that_is_not_made_of_cells_is_one_token(shape: tuple[int, ...]) -> None:
    signal = torch.randn(5, *shape)
    tokens = raw_tokens(signal, TokenGrid((3, 2), ("rows", "columns")))
    assert torch.equal(tokens, signal.flatten(1)[:, None])
