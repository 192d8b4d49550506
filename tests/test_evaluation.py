from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor
from toy import Toy, toy_config, toy_registered
from toy_parts import Waves

from jepa_core.checkpoint import RunFolder
from jepa_core.config import Section
from jepa_core.config.text import config_hash
from jepa_core.data import SignalDataset
from jepa_core.errors import CheckpointError, ConfigError, DataError, PluginIncompatible, PluginNotFound, UsageError
from jepa_core.evaluation import Evaluation, Result, evaluate, read_correct
from jepa_core.features import PRECISIONS, Represented, baseline_of, encode_with, extract
from jepa_core.frozen import load, untrained_encoder
from jepa_core.model import Parts
from jepa_core.plugin import Labels, ProbePlugin
from jepa_core.probes import FeatureKind, Features, Score
from jepa_core.registry import probes as probe_registry

pytestmark = pytest.mark.usefixtures("toy")

CPU = torch.device("cpu")
KNN = ("modality.train_samples=200", "modality.test_samples=80")


@pytest.fixture(scope="module")
def run(toy_run: Path) -> RunFolder:
    return RunFolder(toy_run)


@pytest.fixture(scope="module")
def found(run: RunFolder) -> Evaluation:
    with toy_registered():
        return evaluate(run, overrides=KNN, device="cpu")


def of(results: Sequence[Result], **wanted: str) -> Result:
    (result,) = [r for r in results if all(getattr(r, key) == value for key, value in wanted.items())]
    return result


def test_every_heading_probe_and_representation_is_there_once(found: Evaluation) -> None:
    names = ("target", "context", "random", "raw")
    expected = [(h, p, r) for h in ("direction", "side") for p in ("linear", "knn") for r in names]
    assert [(each.heading, each.probe, each.representation) for each in found.results] == expected


def test_numbers_of_a_result_agree_with_each_other(found: Evaluation) -> None:
    for result in found.results:
        assert result.low <= result.accuracy <= result.high
        assert (result.num_train, result.num_test) == (200, 80)
        assert result.chance == (0.25 if result.heading == "direction" else 0.5)
        base = of(found.results, heading=result.heading, probe=result.probe, representation="random")
        if result.representation == "random":
            assert result.minus_random is None
        else:
            assert result.minus_random is not None
            assert result.minus_random.value == pytest.approx(result.accuracy - base.accuracy)
            assert result.minus_random.low < result.minus_random.value < result.minus_random.high


def test_probes_find_what_is_there(found: Evaluation) -> None:
    assert of(found.results, heading="side", probe="linear", representation="target").accuracy > 0.9
    assert of(found.results, heading="side", probe="knn", representation="raw").accuracy > 0.9


def test_labels_without_relation_to_the_samples_give_chance(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def shuffled(waves: Waves) -> dict[str, Labels]:
        order = np.random.default_rng(waves.samples).permutation(waves.samples)
        return {"side": Labels((order // 4 % 2).astype(np.int64), ("left", "right"))}

    monkeypatch.setattr(Waves, "labels", property(shuffled))
    few = evaluate(run, overrides=[*KNN, "modality.test_samples=400"], probes=["knn"], device="cpu")
    assert all(abs(result.accuracy - 0.5) < 0.1 for result in few.results)


def test_the_file_holds_what_was_measured_and_how(found: Evaluation, run: RunFolder, tmp_path: Path) -> None:
    found.write(tmp_path / "eval.json")
    saved = json.loads((tmp_path / "eval.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.json", "eval_items.safetensors"]
    assert saved["protocol"] == "cached features, evaluation preprocessing"
    assert (saved["run"], saved["encoder"], saved["precision"]) == ("trained", "target", "fp32")
    assert (saved["checkpoint"], saved["step"], saved["seed"]) == ("step_00000008", 8, 0)
    assert saved["config_hash"] == config_hash(found.config)
    assert saved["headings"]["direction"]["num_classes"] == 4
    assert len(saved["headings"]["side"]["label_hash"]) == 64
    assert len(saved["test_hash"]) == 64
    first = saved["results"][0]
    assert set(first["minus_random"]) == {"value", "low", "high"}
    assert first["chosen"]["weight_decay"] in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    assert "torch" in saved["versions"]


def test_a_file_that_cannot_be_written_is_an_error_that_offers_a_way(found: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"could not be written.*--json"):
        found.write(tmp_path / "absent" / "eval.json")


def test_which_samples_were_answered_rightly_is_kept_for_every_result(found: Evaluation, tmp_path: Path) -> None:
    assert list(found.correct) == [result.key for result in found.results]
    assert list(found.correct)[:2] == ["direction/linear/target", "direction/linear/context"]
    for result in found.results:
        own = found.correct[result.key]
        assert (own.dtype, own.shape) == (np.bool_, (80,))
        assert own.mean() == pytest.approx(result.accuracy)
        if result.minus_random is not None:
            base = found.correct[f"{result.heading}/{result.probe}/random"]
            assert own.mean() - base.mean() == pytest.approx(result.minus_random.value)
    found.write(tmp_path / "eval.json")
    kept = read_correct(tmp_path)
    assert set(kept) == set(found.correct)
    assert all(np.array_equal(kept[key], items) for key, items in found.correct.items())
    assert {items.dtype for items in load_file(tmp_path / "eval_items.safetensors").values()} == {np.dtype(np.uint8)}


def test_a_damaged_file_of_samples_is_an_error_that_says_how_to_make_it_again(
    found: Evaluation, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"eval_items\.safetensors: cannot be read.*jepa eval"):
        read_correct(tmp_path)
    found.write(tmp_path / "eval.json")
    path = tmp_path / "eval_items.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"cannot be read.*jepa eval"):
        read_correct(tmp_path)


def test_fewer_representations_are_computed_and_give_the_same_numbers(
    run: RunFolder, found: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("jepa_core.evaluation.untrained_encoder", None)
        alone = evaluate(run, representations=("target",), overrides=KNN, device="cpu")
    compared = evaluate(run, representations=["random", "target"], overrides=KNN, device="cpu")
    assert {result.representation for result in alone.results} == {"target"}
    for key, items in alone.correct.items():
        assert np.array_equal(items, found.correct[key])
    assert all(result.minus_random is None for result in alone.results)
    wanted = [result for result in found.results if result.representation in {"target", "random"}]
    assert compared.results == wanted


def test_an_unknown_representation_is_an_error_that_lists_those_there_are(run: RunFolder) -> None:
    with pytest.raises(UsageError, match=r"no 'rnadom' in .*There are: target, context, random, raw\.$"):
        evaluate(run, representations=["target", "rnadom"], device="cpu")


def test_the_same_run_evaluated_twice_gives_the_same_file(run: RunFolder, found: Evaluation) -> None:
    again = evaluate(run, overrides=KNN, device="cpu")
    assert again.as_json() == found.as_json()


def test_the_encoder_that_was_asked_for_comes_first_and_the_other_one_is_there(run: RunFolder) -> None:
    found = evaluate(run, probes=["knn"], encoder="context", device="cpu")
    assert found.encoder == "context"
    order = [result.representation for result in found.results if result.heading == "side"]
    assert order == ["context", "target", "random", "raw"]


def test_each_representation_is_what_its_name_says(run: RunFolder) -> None:
    parts = Parts.of(run.config)
    source = parts.modality.source(parts.config.modality, "probe_test")
    dataset = SignalDataset(source, parts.modality.transform(parts.config.modality, train=False), 0)
    seen: dict[str, Features] = {}

    class Watching:
        needs: ClassVar[FeatureKind] = "pooled"

        def __init__(self, config: Section) -> None:
            pass

        def __call__(self, train: Features, test: Features, num_classes: int, seed: int) -> Score:
            seen[names[len(seen)]] = test
            return Score(torch.zeros(len(test.labels), dtype=torch.bool))

    names = [f"{heading}/{name}" for heading in source.labels for name in ("target", "context", "random", "raw")]
    with probe_registry.temporarily(ProbePlugin("watching", PlainConfig, Watching)):
        evaluate(run, probes=["watching"], device="cpu")
    signal = torch.stack([dataset[key][1] for key in dataset_keys(len(source))])  # pyright: ignore[reportArgumentType]
    for name, expected in (
        ("target", load(run.path).embed(signal)),
        ("context", load(run.path, "context").embed(signal)),
        ("random", untrained_encoder(parts)(signal).mean(1)),
        ("raw", signal.flatten(1)),
    ):
        torch.testing.assert_close(seen[f"side/{name}"].pooled, expected, rtol=1e-4, atol=1e-5)
    assert seen["side/raw"].pooled.mean().abs() < 0.5  # normalised with the checkpoint's statistics
    assert torch.equal(seen["direction/raw"].labels, torch.arange(32) % 4)


def dataset_keys(count: int) -> list[Any]:
    from jepa_core.types import SampleKey

    return [SampleKey(0, index) for index in range(count)]


class PlainConfig(Section):
    """Nothing to set."""

    name: str = "watching"


def test_unreadable_samples_are_left_out_and_named(run: RunFolder) -> None:
    bad = ["modality.unreadable=[3, 9]", "data.max_unreadable=0.05"]
    found = evaluate(run, probes=["knn"], overrides=bad, device="cpu")
    assert {result.num_train for result in found.results} == {62}
    named = found.as_json()["unreadable"]
    assert [each["where"] for each in named["probe_train"]] == ["toy:train/3", "toy:train/9"]
    assert named["probe_train"][0]["reason"] == "made unreadable for a test"
    assert named["probe_test"] == []


def test_labels_stay_with_their_samples_when_others_are_unreadable() -> None:
    parts = Parts.of(toy_config("modality.unreadable=[0, 5]", "data.max_unreadable=0.5"))
    source = parts.modality.source(parts.config.modality, "probe_train")
    extracted = extract(parts, source, {"raw": baseline_of(parts)}, CPU, "probe_train")
    assert extracted.place.tolist() == [index for index in range(64) if index not in {0, 5}]
    assert extracted.features["raw"].shape == (62, 144)
    torch.testing.assert_close(extracted.features["raw"][0], torch.from_numpy(source.read(1)).flatten())


def test_too_many_unreadable_samples_end_it(run: RunFolder) -> None:
    with pytest.raises(DataError, match=r"probe_train: 2 of 64 samples cannot be read.*1\.0%.*toy:train/3"):
        evaluate(run, probes=["knn"], overrides=["modality.unreadable=[3, 9]"], device="cpu")


def test_workers_change_nothing(run: RunFolder) -> None:
    alone = evaluate(run, probes=["knn"], device="cpu")
    helped = evaluate(run, probes=["knn"], overrides=["train.workers=2"], device="cpu")
    assert alone.results == helped.results


def test_features_that_are_not_finite_end_it_with_advice() -> None:
    parts = Parts.of(toy_config())
    source = parts.modality.source(parts.config.modality, "probe_train")

    def one_is_nan(signal: Tensor) -> Represented:
        tokens = torch.where(torch.arange(len(signal)) == 2, torch.nan, 1.0)[:, None, None]
        return Represented(tokens[:, 0], lambda: tokens)

    with pytest.raises(DataError, match=r"the target features of 1 of 64 samples are not finite.*--checkpoint"):
        extract(parts, source, {"target": one_is_nan}, CPU, "probe_train")


def test_an_empty_split_is_an_error(run: RunFolder) -> None:
    with pytest.raises(DataError, match=r"probe_test: there are no samples"):
        evaluate(run, probes=["knn"], overrides=["modality.test_samples=0"], device="cpu")


def test_data_without_labels_is_refused_before_anything_is_computed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Waves, "labels", {})
    monkeypatch.setattr(Waves, "read", None)
    with pytest.raises(DataError, match=r"needs labels.*probe_train has none; probe_test has none.*jepa embed"):
        evaluate(run, device="cpu")


def test_statistics_come_from_the_checkpoint_and_not_from_the_user(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "unnormalised", {"mean": 0.0, "std": 1.0})
    assert evaluate(run, probes=["knn"], device="cpu").config.modality.model_dump()["mean"] == 0.2
    with pytest.raises(UsageError, match=r"modality\.mean: 0\.2 in the checkpoint, 0\.0 given"):
        evaluate(run, overrides=["modality.mean=0.0"], device="cpu")


def test_bf16_is_explicit_and_reaches_the_encoder_alone() -> None:
    parts = Parts.of(toy_config())
    signal = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    exact, rounded = (encode_with(parts, untrained_encoder(parts), CPU, p)(signal).pooled for p in PRECISIONS)
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.1, atol=0.1)


def test_a_run_with_one_encoder_is_evaluated_with_that_one(run: RunFolder, tmp_path: Path) -> None:
    half = RunFolder(copytree(run.path, tmp_path / "half"))
    (half.find() / "target_encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no target encoder.*--encoder context"):
        evaluate(half, device="cpu")
    found = evaluate(half, probes=["knn"], encoder="context", device="cpu")
    assert {result.representation for result in found.results} == {"context", "random", "raw"}


def test_an_earlier_checkpoint_can_be_evaluated(run: RunFolder) -> None:
    assert evaluate(run, probes=["knn"], checkpoint="step_4", device="cpu").step == 4


def test_a_probe_that_is_not_configured_is_used_with_its_defaults(run: RunFolder, tmp_path: Path) -> None:
    found = evaluate(run, probes=["knn"], overrides=["probes=[{name: linear, steps: 5}]"], device="cpu")
    assert {result.probe for result in found.results} == {"knn"}
    with pytest.raises(PluginNotFound, match="liner"):
        evaluate(run, probes=["liner"], device="cpu")


def test_a_configured_probe_keeps_its_settings(run: RunFolder) -> None:
    near = evaluate(run, probes=["knn"], overrides=["probes.1.k=1"], device="cpu")
    far = evaluate(run, probes=["knn"], overrides=["probes.1.k=64", "probes.1.temperature=100"], device="cpu")
    assert near.results != far.results


def test_two_sections_of_one_probe_are_refused(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"probes: 'knn' occurs 2 times"):
        evaluate(run, overrides=["probes=[{name: knn}, {name: knn, k: 5}]"], device="cpu")


def test_a_probe_that_needs_what_the_core_does_not_have_is_refused(run: RunFolder) -> None:
    class Layered:
        needs = "layers"

        def __init__(self, config: Section) -> None:
            pass

    with (
        probe_registry.temporarily(ProbePlugin("watching", PlainConfig, Layered)),
        pytest.raises(PluginIncompatible, match=r"probe 'watching': it needs 'layers' features.*has: pooled, tokens"),
    ):
        evaluate(run, probes=["watching"], device="cpu")


def test_progress_is_told_to_the_end(run: RunFolder) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(run, probes=["knn"], device="cpu", watch=lambda *each: told.append(each))
    assert [each for each in told if each[1] == each[2]] == [
        ("probe_train", 64, 64),
        ("probe_test", 32, 32),
        ("probes", 8, 8),
    ]


def test_the_controls_of_a_modality_are_scored_beside_the_raw_input(
    toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "controls", lambda *_: {"blank": torch.zeros_like})
    found = evaluate(RunFolder(toy_run), probes=["linear"], device="cpu")
    shown = [each for each in found.results if each.heading == "direction"]
    assert [each.representation for each in shown] == ["target", "context", "random", "raw", "raw, blank"]
    assert shown[-1].accuracy == shown[-1].chance  # nothing can be told from nothing
    assert shown[-2].accuracy > shown[-1].accuracy


@pytest.mark.parametrize("probe", ["linear", "knn", "attentive"])
def test_samples_without_a_label_are_left_out_of_its_probes(
    probe: str, toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Waves("train", samples=1, side=1, noise=0).labels["side"].names

    def partly(waves: Waves) -> Mapping[str, Labels]:
        labels = Labels(np.arange(len(waves)) // 4 % 2, whole)
        return {"side": Labels(np.where(np.arange(len(labels.ids)) % 3, labels.ids, -1), labels.names)}

    monkeypatch.setattr(Waves, "labels", property(partly))
    small = ["probes=[{name: linear}, {name: knn}, {name: attentive, epochs: 1, min_steps: 2}]"]
    results = evaluate(RunFolder(toy_run), probes=[probe], overrides=small, device="cpu").results
    assert {(each.num_train, each.num_test) for each in results} == {(42, 21)}
    assert all(each.low <= each.accuracy <= each.high for each in results)


def test_a_sample_without_a_label_has_no_name() -> None:
    labels = Labels(np.array([1, -1]), ("ant", "bee"))
    assert [labels.name_of(index) for index in range(2)] == ["bee", ""]
