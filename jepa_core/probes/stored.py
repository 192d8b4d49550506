"""A fitted attentive classifier in one .safetensors file, which says what it needs to be built again."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from jepa_core.checkpoint import load_strictly, module_tensors, read_tensors
from jepa_core.errors import CheckpointError
from jepa_core.nn.attentive import AttentiveClassifier

_KEY = "jepa_core_classifier"


def save_classifier(classifier: AttentiveClassifier, path: Path) -> None:
    """Write it; raises CheckpointError where the disk refuses."""
    shape = {
        "width": len(classifier.query),
        "heads": classifier.heads,
        "num_classes": classifier.linear.out_features,
        "blocks": 1 + len(classifier.blocks),
        "norm_eps": classifier.norm1.eps,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(module_tensors(classifier), path, {_KEY: json.dumps(shape)})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: could not be written ({error}). Free space, or choose another --out."
        ) from error


def load_classifier(path: str | Path, device: str | torch.device = "cpu") -> AttentiveClassifier:
    """Read what `save_classifier` or `jepa import` wrote, in evaluation mode: from an encoder's tokens to logits.

        classify = load_classifier("runs/vjepa/probes/actions.safetensors")
        logits = classify(jepa_core.load("runs/vjepa").tokens(signal))

    The tokens of several pieces of one sample are put one after the other, along the token axis.

    Raises:
        CheckpointError: unreadable, or no classifier.
    """
    path = Path(path)
    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get(_KEY)
    if told is None:
        raise CheckpointError(f"{path}: holds no classifier. `jepa import FILE --out {path}` makes one from weights.")
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
        classifier = AttentiveClassifier(**json.loads(told))
    load_strictly(classifier, tensors, path)
    return classifier.to(device).eval()
