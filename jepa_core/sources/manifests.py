"""Tables of paths and labels: .csv and .parquet files with a header row."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from jepa_core.errors import DataError

SUFFIXES = (".csv", ".parquet")
PATH = "path"
"""The column that a manifest must have."""


@dataclass(frozen=True)
class Manifest:
    """A table of samples."""

    paths: pa.ChunkedArray
    """Text, without nulls."""
    labels: dict[str, Collection[str | None]]
    """By heading: text, or None for a row without that label."""

    def iter_paths(self) -> Iterator[str]:
        """The paths in the order of the rows, without a list of them all."""
        for chunk in self.paths.chunks:
            yield from chunk.to_pylist()


def read_manifest(path: str, headings: Sequence[str] | None = None) -> Manifest:
    """The column `path` and the columns of labels: `headings`, or all others.

    Raises:
        DataError: where the file is no table, or lacks a column, a row or a path.
    """
    try:
        table = parquet.read_table(path) if path.lower().endswith(".parquet") else _read_csv(path)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error
    columns: list[str] = table.column_names
    if PATH not in columns:
        raise DataError(f"{path}: needs a header row with a column '{PATH}'. Its columns: {', '.join(columns)}")
    chosen = [name for name in columns if name != PATH] if headings is None else headings
    paths = _text(table, PATH, path)
    if not len(paths):
        raise DataError(f"{path}: no rows below the header")
    if paths.null_count:
        row = paths.is_null().to_pylist().index(True) + 1
        raise DataError(f"{path}: row {row} has no path")
    return Manifest(paths, {heading: _text(table, heading, path).to_pylist() for heading in chosen})


def _read_csv(path: str) -> pa.Table:
    """Every column as text, so that the label 007 stays what it is; an empty field is no value."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    as_text: Any = dict.fromkeys(header, pa.string())
    return arrow_csv.read_csv(
        path,
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=as_text, null_values=[""], strings_can_be_null=True),
    )


def _text(table: pa.Table, heading: str, path: str) -> pa.ChunkedArray:
    if heading not in table.column_names:
        raise DataError(f"{path}: has no column '{heading}'. Its columns: {', '.join(table.column_names)}")
    if table.column_names.count(heading) > 1:
        raise DataError(f"{path}: has more than one column '{heading}'. Give every column a heading of its own")
    try:
        return table.column(heading).cast(pa.string())
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: column '{heading}' holds {table.column(heading).type}, which is neither text nor a number. "
            "Name the columns that are labels: --set modality.labels=[...]"
        ) from error
