from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from jepa_core import cli
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop import import_classifier, import_weights
from jepa_core.nn.attentive import AttentiveClassifier
from jepa_core.probes.stored import load_classifier, save_classifier

WIDTH, HEADS, CLASSES = 24, 3, 5
Tensors = dict[str, Tensor]


def linear(name: str, inputs: int, outputs: int) -> Tensors:
    return {f"{name}.weight": 0.3 * torch.randn(outputs, inputs), f"{name}.bias": torch.randn(outputs)}


def block(prefix: str, width: int, attention: Tensors) -> Tensors:
    norms = {f"{prefix}norm{n}.{kind}": torch.randn(width) for n in (1, 2) for kind in ("weight", "bias")}
    mlp = linear(f"{prefix}mlp.fc1", width, 4 * width) | linear(f"{prefix}mlp.fc2", 4 * width, width)
    return norms | attention | mlp


def public(blocks: int = 0, with_projection: bool = False, width: int = WIDTH) -> Tensors:
    """A classifier in the public code's names."""
    cross = "pooler.cross_attention_block."
    tensors = {"pooler.query_tokens": torch.randn(1, 1, width)} | linear("linear", width, CLASSES)
    inside = linear(f"{cross}xattn.q", width, width) | linear(f"{cross}xattn.kv", width, 2 * width)
    tensors |= block(cross, width, inside | (linear(f"{cross}xattn.proj", width, width) if with_projection else {}))
    for number in range(blocks):
        own = f"pooler.blocks.{number}."
        attention = linear(f"{own}attn.qkv", width, 3 * width) | linear(f"{own}attn.proj", width, width)
        tensors |= block(own, width, attention)
    return {f"module.{name}": value for name, value in tensors.items()}


def answer(tensors: Tensors, tokens: Tensor) -> Tensor:
    """What the public V-JEPA 2 classifier computes, written out."""
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}

    def apply(name: str, states: Tensor) -> Tensor:
        return F.linear(states, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str, states: Tensor) -> Tensor:
        return F.layer_norm(states, (WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-5)

    def attend(*states: Tensor) -> Tensor:
        query, key, value = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in states)
        share = (query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        return (share @ value).transpose(1, 2).flatten(2)

    def mlp(prefix: str, states: Tensor) -> Tensor:
        hidden = F.gelu(apply(f"{prefix}mlp.fc1", norm(f"{prefix}norm2", states)))
        return states + apply(f"{prefix}mlp.fc2", hidden)

    for number in range(len({name.split(".")[2] for name in tensors if name.startswith("pooler.blocks.")})):
        own = f"pooler.blocks.{number}."
        seen = attend(*apply(f"{own}attn.qkv", norm(f"{own}norm1", tokens)).chunk(3, dim=-1))
        tokens = mlp(own, tokens + apply(f"{own}attn.proj", seen))
    cross = "pooler.cross_attention_block."
    query = tensors["pooler.query_tokens"].expand(len(tokens), -1, -1)
    key, value = apply(f"{cross}xattn.kv", norm(f"{cross}norm1", tokens)).chunk(2, dim=-1)
    pooled = query + attend(apply(f"{cross}xattn.q", query), key, value)
    return apply("linear", mlp(cross, pooled)[:, 0])


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize(("blocks", "with_projection"), [(0, True), (0, False), (3, False)])
def test_imported_classifiers_answer_as_the_public_ones(tmp_path: Path, blocks: int, with_projection: bool):
    torch.manual_seed(0)
    theirs, tokens = public(blocks, with_projection), torch.randn(2, 7, WIDTH)
    file = saved(tmp_path / "classifier.pt", {"classifier": theirs, "epoch": 20})
    import_classifier(file, tmp_path / "probes" / "ours.safetensors", [f"heads={HEADS}"])
    classify = load_classifier(tmp_path / "probes" / "ours.safetensors")
    assert not classify.training
    torch.testing.assert_close(classify(tokens), answer(theirs, tokens), rtol=1e-4, atol=1e-4)


def test_one_of_several_classifiers_is_chosen_by_number(tmp_path: Path):
    several = [public(), public()]
    file = saved(tmp_path / "latest.pt", {"classifiers": several})
    with pytest.raises(UsageError, match=r"holds 2 classifiers\. Choose one: --set number=0 to 1"):
        import_classifier(file, tmp_path / "out.safetensors", ["heads=3"])
    with pytest.raises(UsageError, match="holds 2 classifiers"):
        import_classifier(file, tmp_path / "out.safetensors", ["heads=3", "number=2"])
    chosen = import_classifier(file, tmp_path / "out.safetensors", ["heads=3", "number=1"])
    assert torch.equal(chosen.linear.bias, several[1]["module.linear.bias"])


def test_heads_are_the_official_ones_at_official_widths_and_must_be_given_at_others(tmp_path: Path):
    with pytest.raises(UsageError, match=r"24 is no standard width; give it: --set heads="):
        import_classifier(saved(tmp_path / "a.pt", {"classifier": public()}), tmp_path / "out.safetensors")
    with pytest.raises(UsageError, match="heads=5: does not divide the classifier's width, 24"):
        import_classifier(tmp_path / "a.pt", tmp_path / "out.safetensors", ["heads=5"])
    giant = saved(tmp_path / "g.pt", {"classifier": public(width=1408)})
    imported = import_classifier(giant, tmp_path / "out.safetensors")
    assert imported.heads == 16


def test_blocks_behind_the_query_are_refused(tmp_path: Path):
    file = saved(tmp_path / "a.pt", {"classifier": public(blocks=1, with_projection=True)})
    with pytest.raises(CheckpointError, match="blocks behind the query"):
        import_classifier(file, tmp_path / "out.safetensors", ["heads=3"])


def test_a_damaged_classifier_is_an_error_that_lists_what_it_lacks(tmp_path: Path):
    theirs = public()
    del theirs["module.pooler.cross_attention_block.norm2.bias"]
    theirs["module.extra.weight"] = torch.zeros(2)
    with pytest.raises(CheckpointError) as caught:
        import_classifier(saved(tmp_path / "a.pt", {"classifier": theirs}), tmp_path / "out.safetensors", ["heads=3"])
    assert "missing: norm2.bias" in str(caught.value)
    assert "unexpected: extra.weight" in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("override", ["encoder.heads=3", "heads=many", "heads"])
def test_other_settings_are_refused(tmp_path: Path, override: str):
    file = saved(tmp_path / "a.pt", {"classifier": public()})
    with pytest.raises(UsageError, match="a classifier takes heads=N and number=N"):
        import_classifier(file, tmp_path / "out.safetensors", [override])


def test_networks_and_classifiers_are_not_taken_for_each_other(tmp_path: Path):
    file = saved(tmp_path / "a.pt", {"classifier": public()})
    with pytest.raises(CheckpointError, match=r"an attentive classifier, and no encoder\. .* --out RUN/probes/NAME"):
        import_weights(file, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"holds no attentive classifier\. .* --out RUN"):
        import_classifier(saved(tmp_path / "b.pt", {"encoder": {}}), tmp_path / "out.safetensors")


def test_a_classifier_of_our_own_is_stored_and_read(tmp_path: Path):
    ours, tokens = AttentiveClassifier(WIDTH, HEADS, CLASSES, blocks=2, norm_eps=1e-3).eval(), torch.randn(2, 7, WIDTH)
    save_classifier(ours, tmp_path / "ours.safetensors")
    with torch.no_grad():
        assert torch.equal(load_classifier(tmp_path / "ours.safetensors")(tokens), ours(tokens))


def test_reading_a_classifier_leaves_torchs_generator_alone(tmp_path: Path):
    save_classifier(AttentiveClassifier(WIDTH, HEADS, CLASSES), tmp_path / "ours.safetensors")
    before = torch.get_rng_state()
    load_classifier(tmp_path / "ours.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_of_something_else_is_no_classifier(tmp_path: Path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="holds no classifier"):
        load_classifier(tmp_path / "a.safetensors")


def test_nothing_is_overwritten_and_an_unwritable_place_is_an_error(tmp_path: Path):
    file = saved(tmp_path / "a.pt", {"classifier": public()})
    import_classifier(file, tmp_path / "out.safetensors", ["heads=3"])
    with pytest.raises(UsageError, match="exists already"):
        import_classifier(file, tmp_path / "out.safetensors", ["heads=3"])
    with pytest.raises(CheckpointError, match="could not be written"):
        save_classifier(AttentiveClassifier(WIDTH, HEADS, CLASSES), tmp_path / "a.pt" / "out.safetensors")


def test_the_command_makes_a_file(tmp_path: Path):
    file, out = saved(tmp_path / "a.pt", {"classifier": public()}), tmp_path / "run" / "probes" / "toys.safetensors"
    done = CliRunner().invoke(cli.app, ["import", str(file), "--out", str(out), "--set", "heads=3"])
    assert done.exit_code == 0, done.output
    assert "a classifier of 5 classes, imported from a.pt" in done.output
    assert load_classifier(out).heads == HEADS
