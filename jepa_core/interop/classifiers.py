"""Attentive classifiers of the public V-JEPA and V-JEPA 2 code, in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from jepa_core.checkpoint import Tensors, load_strictly
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop.files import Foreign, read_foreign, unwrapped
from jepa_core.nn.attentive import AttentiveClassifier
from jepa_core.probes.stored import save_classifier

SUFFIX = ".safetensors"
"""Of the files that classifiers are imported into."""
OFFICIAL_HEADS = {1024: 16, 1280: 16, 1408: 16}
"""Attention heads by width: 16 in all configurations of the public code, also where the encoder has 22."""
_QUERY, _UNUSED = "pooler.query_tokens", "pooler.cross_attention_block.xattn.proj."
# The public code's beginnings -> ours; longer ones first.
_BEGINNINGS = {
    "pooler.cross_attention_block.xattn.": "",
    "pooler.cross_attention_block.": "",
    "pooler.blocks.": "blocks.",
    "linear.": "linear.",
}


def classifiers_in(foreign: Foreign) -> list[Tensors]:
    """The classifiers that a file holds: one in V-JEPA's, a list of one for each hyper-parameter in V-JEPA 2's."""
    held: Any = foreign.content.get("classifiers") or [foreign.content.get("classifier")]
    found = [{unwrapped(name): value for name, value in each.items()} for each in held if isinstance(each, Mapping)]
    return [cast("Tensors", tensors) for tensors in found if _QUERY in tensors]


def _renamed(name: str) -> str:
    """Ours, or the name itself (and then the strict load reports it)."""
    for old, new in _BEGINNINGS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def read_classifier(tensors: Tensors, heads: int | None, where: Path) -> AttentiveClassifier:
    """One classifier as a module; V-JEPA's projection behind the cross-attention, which is never applied, is left out.

    Args:
        tensors: under the public names.
        heads: attention heads; None takes the official number.
        where: the file, for messages.

    Raises:
        UsageError: `heads` must be given, or does not divide the width.
        CheckpointError: the tensors are not those of a classifier that can be built here.
    """
    width, blocks = tensors[_QUERY].shape[-1], {name.split(".")[2] for name in tensors if name.startswith("pooler.b")}
    heads = heads or OFFICIAL_HEADS.get(width)
    if heads is None:
        raise UsageError(
            f"{where}: attention heads leave no trace in the tensors, and {width} is no standard width; "
            "give it: --set heads=..."
        )
    if width % heads:
        raise UsageError(f"--set heads={heads}: does not divide the classifier's width, {width}.")
    if blocks and any(name.startswith(_UNUSED) for name in tensors):
        raise CheckpointError(
            f"{where}: a V-JEPA classifier with blocks behind the query; only those of depth 1, and V-JEPA 2's with "
            "blocks before it, can be read."
        )
    ours = {_renamed(name): value.float() for name, value in tensors.items() if not name.startswith(_UNUSED)}
    ours["query"] = ours.pop(_QUERY).flatten()
    num_classes = len(ours["linear.bias"]) if "linear.bias" in ours else 1
    with torch.random.fork_rng(devices=[]):  # the first weights are replaced
        classifier = AttentiveClassifier(width, heads, num_classes, 1 + len(blocks))
    load_strictly(classifier, ours, where)
    return classifier


def import_classifier(path: Path, out: Path, overrides: Sequence[str] = ()) -> AttentiveClassifier:
    """Make a file for `jepa_core.probes.stored.load_classifier` from a public program's classifier.

    Args:
        path: the foreign file.
        out: the .safetensors file to write; must not exist.
        overrides: `heads=N` (attention heads), `number=N` (which one of several, from 0).

    Raises:
        CheckpointError: unreadable, or no classifier.
        UsageError: `out` exists, or something that the file does not tell is not given.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already. Give another path with --out.")
    given, found = _given(overrides), classifiers_in(read_foreign(path))
    if not found:
        raise CheckpointError(f"{path}: holds no attentive classifier. Networks go into a folder: --out RUN")
    number = given.get("number", 0)
    if number >= len(found) or (len(found) > 1 and "number" not in given):
        raise UsageError(f"{path}: holds {len(found)} classifiers. Choose one: --set number=0 to {len(found) - 1}")
    classifier = read_classifier(found[number], given.get("heads"), path)
    save_classifier(classifier, out)
    return classifier


def _given(overrides: Sequence[str]) -> dict[str, int]:
    """What `--set` says about a classifier; raises UsageError."""
    given: dict[str, int] = {}
    for override in overrides:
        key, _, value = (part.strip() for part in override.partition("="))
        if key not in {"heads", "number"} or not value.isdecimal():
            raise UsageError(f"--set {override}: a classifier takes heads=N and number=N.")
        given[key] = int(value)
    return given
