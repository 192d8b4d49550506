"""Features of a user's files, written for other programs: `jepa embed`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from jepa_core.config.text import config_hash
from jepa_core.errors import DataError, UsageError
from jepa_core.features import Precision, Represented, Watch, encode_with, signal_batches, unwatched
from jepa_core.frozen import FrozenEncoder
from jepa_core.nn.attentive import AttentiveClassifier
from jepa_core.plugin import Source
from jepa_core.unreadable import Unreadable

METADATA = "jepa"
"""Under this key every file holds, as JSON, which encoder made it and which samples could not be read."""


_TAKEN = frozenset({"path", "embedding", METADATA, "file", "allow_pickle"})
"""Columns of our own, and what numpy.savez calls its own arguments."""


class Sink(Protocol):
    """Takes rows and makes a file of them."""

    def add(self, columns: Mapping[str, Sequence[str]], embedding: Float[Tensor, "rows *features"]) -> None:
        """Rows: text columns, "path" first, and their features: (dim,) each, or (tokens, dim)."""
        ...

    def close(self, metadata: str) -> None:
        """Complete the file."""
        ...


class ParquetSink:
    """Columns "path" and labels as strings, "embedding" as lists of fp32 (of tokens, lists of those).

    Rows go to the disk as they come.
    """

    def __init__(self, path: Path) -> None:
        """The file is opened with the first rows, which tell its columns."""
        self.path = path
        self._writer: pq.ParquetWriter | None = None

    def add(self, columns: Mapping[str, Sequence[str]], embedding: Float[Tensor, "rows *features"]) -> None:
        """One row group."""
        lists = pa.array(embedding.flatten().numpy())
        for length in reversed(embedding.shape[1:]):
            lists = pa.FixedSizeListArray.from_arrays(lists, length)
        arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        table = pa.table({**arrays, "embedding": lists})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema)
        self._writer.write_table(table)

    def close(self, metadata: str) -> None:
        """Write the footer, which holds the metadata."""
        assert self._writer is not None
        self._writer.add_key_value_metadata({METADATA: metadata})
        self._writer.close()


class _InMemory:
    """Gathers all rows: these formats are written in one piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: dict[str, list[str]] = {}
        self._embedding: list[Tensor] = []

    def add(self, columns: Mapping[str, Sequence[str]], embedding: Float[Tensor, "rows *features"]) -> None:
        """Keep them."""
        for name, values in columns.items():
            self._columns.setdefault(name, []).extend(values)
        self._embedding.append(embedding)


class NpzSink(_InMemory):
    """Arrays "path", labels and "jepa" of strings, and "embedding" (rows, ...) of fp32; nothing is pickled."""

    def close(self, metadata: str) -> None:
        """Write the archive."""
        text = {name: np.array(values) for name, values in self._columns.items()}
        with self.path.open("wb") as file:  # given a name, numpy would append .npz to it
            np.savez(file, embedding=torch.cat(self._embedding).numpy(), jepa=np.array(metadata), **text)  # pyright: ignore[reportArgumentType]


class SafetensorsSink(_InMemory):
    """Tensor "embedding" (rows, ...) of fp32; every text column is a tensor of bytes that are a JSON list.

    Text is no metadata here: a header of this format ends at 100 MB, and paths of a million files do not.
    """

    def close(self, metadata: str) -> None:
        """Write the file."""
        text = {
            name: torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
            for name, values in self._columns.items()
        }
        save_file({"embedding": torch.cat(self._embedding), **text}, self.path, {METADATA: metadata})


SINKS: Mapping[str, Callable[[Path], Sink]] = {
    ".parquet": ParquetSink,
    ".npz": NpzSink,
    ".safetensors": SafetensorsSink,
}
"""By suffix."""


@dataclass(frozen=True)
class Embedded:
    """What came of an input."""

    rows: int
    """Samples in the file."""
    features: tuple[int, ...]
    """Shape of one sample's: (dim,), (tokens, dim), or (classes,)."""
    unreadable: tuple[Unreadable, ...]
    """Samples that are not in the file; its metadata names them too."""


def check_out(out: Path, force: bool) -> Callable[[Path], Sink]:
    """What writes the file; raises UsageError for an unknown suffix, an existing file, or a folder that is none."""
    if out.suffix not in SINKS:
        raise UsageError(f"--out {out}: the suffix says which format is written. Allowed: {', '.join(SINKS)}")
    if out.exists() and not force:
        raise UsageError(f"--out {out}: exists already. Replace it with --force, or give another name.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}. Make it, or give another name.")
    return SINKS[out.suffix]


def embed(
    encoder: FrozenEncoder,
    source: Source,
    out: Path,
    *,
    run: str,
    tokens: bool = False,
    classifier: AttentiveClassifier | None = None,
    force: bool = False,
    precision: Precision = "fp32",
    watch: Watch = unwatched,
) -> Embedded:
    """Write the features of every readable sample of a source; the file is whole or absent.

    Args:
        encoder: from `jepa_core.load`.
        source: from `Modality.open`.
        out: .parquet (streams; for any size), .npz or .safetensors (hold all features in memory).
        run: the run's name, for the metadata.
        tokens: write all tokens of a sample and not their mean.
        classifier: write its logits, in fp32, and no features.
        force: replace an existing file.
        precision: what the encoder computes in.
        watch: is told how many samples are done.

    Raises:
        UsageError: see `check_out`; or the classifier is of another width, or beside `tokens`.
        DataError: no sample can be read, or the file cannot be written.
    """
    sink_type, output = check_out(out, force), _output_of(encoder, tokens, classifier)
    partial = out.with_name(f"{out.name}.tmp")
    try:
        embedded = _fill(sink_type(partial), encoder, source, run, output, precision, watch)
        partial.replace(out)
    except OSError as error:
        raise DataError(f"{out}: could not be written ({error}). Free space or give another --out.") from error
    finally:
        partial.unlink(missing_ok=True)
    return embedded


@dataclass(frozen=True)
class _Output:
    """What is written of every sample."""

    name: str
    """For the metadata."""
    of: Callable[[Represented], Tensor]
    """From what the encoder gives of a batch, to fp32 on the CPU."""


def _output_of(encoder: FrozenEncoder, tokens: bool, classifier: AttentiveClassifier | None) -> _Output:
    """Raises UsageError for a classifier that does not fit."""
    if classifier is None:
        return _Output("tokens", lambda rows: rows.tokens.float().cpu()) if tokens else _Output("pooled", _pooled)
    if tokens:
        raise UsageError("--tokens and --classifier: a file holds tokens or logits. Leave one of the two out.")
    width, needed = int(encoder.encoder.backbone.width), len(classifier.query)  # pyright: ignore[reportArgumentType]
    if width != needed:
        raise UsageError(f"--classifier: it is of encoders of width {needed}, and this one has {width}.")
    classify = classifier.to(encoder.device).eval()

    @torch.no_grad()
    def logits(rows: Represented) -> Tensor:
        return classify(rows.tokens.to(encoder.device).float()).cpu()

    return _Output("logits", logits)


def _pooled(rows: Represented) -> Tensor:
    return rows.pooled


def _fill(
    sink: Sink,
    encoder: FrozenEncoder,
    source: Source,
    run: str,
    output: _Output,
    precision: Precision,
    watch: Watch,
) -> Embedded:
    represent = encode_with(encoder.parts, encoder.encoder, encoder.device, precision)
    unreadable: list[Unreadable] = []
    features: tuple[int, ...] = ()
    rows, done = 0, 0
    watch("embed", done, len(source))
    for batch in signal_batches(encoder.parts, source, encoder.device):
        unreadable += batch.unreadable
        if len(batch.place):
            embedding = output.of(represent(batch.signal))
            rows, features = rows + len(embedding), tuple(embedding.shape[1:])
            sink.add(_text(source, batch.place.tolist()), embedding)
        done += len(batch.place) + len(batch.unreadable)
        watch("embed", done, len(source))
    if not rows:
        first = f" The first: {unreadable[0].where} ({unreadable[0].reason})." if unreadable else ""
        raise DataError(f"none of {len(source)} samples can be read.{first} `jepa doctor` lists what can be decoded.")
    sink.close(json.dumps(_metadata(encoder, run, output.name, precision, unreadable)))
    return Embedded(rows, features, tuple(unreadable))


def _text(source: Source, places: list[int]) -> dict[str, list[str]]:
    """Paths and class names; a heading that is taken gets the prefix "label_"."""
    columns = {"path": [_unicode(source.where(place)) for place in places]}
    for heading, labels in source.labels.items():
        name = f"label_{heading}" if heading in _TAKEN else heading
        columns[name] = [_unicode(labels.name_of(place)) for place in places]
    return columns


def _unicode(name: str) -> str:
    """A file's or folder's name; bytes of it that are no UTF-8 as an escape, for the formats' text is Unicode."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _metadata(
    encoder: FrozenEncoder, run: str, features: str, precision: Precision, unreadable: Sequence[Unreadable]
) -> dict[str, Any]:
    return {
        "run": run,
        "encoder": encoder.which,
        "features": features,
        "pooling": encoder.config.features.model_dump(mode="json"),
        "step": encoder.step,
        "precision": precision,
        "config_hash": config_hash(encoder.config),
        "unreadable": [{"path": _unicode(each.where), "reason": each.reason} for each in unreadable],
    }
