from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from notes import WriteNotes, names_of, notes
from pyarrow import parquet

from jepa_core.errors import DataError, UnreadableSample


def write(tmp_path: Path, text: str, name: str = "notes.csv") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_paths_are_relative_to_the_manifest_and_may_be_absolute(write_notes: WriteNotes, tmp_path: Path):
    root = write_notes("train", cat=2)
    path = write(tmp_path, f"path\ntrain/cat/000.txt\n{root}/cat/001.txt\n")
    source = notes(path)
    assert source.labels == {}
    assert [source.read(i) for i in range(2)] == ["cat 0", "cat 1"]


PATHS = [
    "a b/c d.txt",
    " leading and trailing .txt",
    "commas, 'quotes' and \"more\".txt",
    "ünïcödé/汉字 ♥.txt",
    "a;b\tc.txt",
]


def test_paths_of_a_csv_may_hold_any_character(tmp_path: Path):
    with (tmp_path / "notes.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["label", "path"], *(["x", path] for path in PATHS)])
    source = notes(tmp_path / "notes.csv")
    assert [source.where(index) for index in range(len(source))] == [str(tmp_path / path) for path in PATHS]


def test_paths_of_a_parquet_file_may_hold_any_character(tmp_path: Path):
    parquet.write_table(pa.table({"path": PATHS}), tmp_path / "notes.parquet", row_group_size=2)
    source = notes(tmp_path / "notes.parquet")
    assert [source.where(index) for index in range(len(source))] == [str(tmp_path / path) for path in PATHS]


def test_commas_quotes_and_line_breaks_in_fields_are_fields(tmp_path: Path):
    path = write(tmp_path, 'label,path\n"a, ""b""\nc","x, y.txt"\n')
    source = notes(path)
    assert source.where(0) == str(tmp_path / "x, y.txt")
    assert names_of(source) == ['a, "b"\nc']


@pytest.mark.parametrize(("header", "twice"), [("path,kind,kind", "kind"), ("path,path,kind", "path")])
def test_a_heading_that_occurs_twice_is_named(tmp_path: Path, header: str, twice: str):
    path = write(tmp_path, f"{header}\na.txt,dog,dog\n")
    with pytest.raises(DataError, match=rf"notes\.csv: has more than one column '{twice}'\. Give every column"):
        notes(path)


def test_several_headings_and_rows_without_a_label(tmp_path: Path):
    path = write(tmp_path, "path,kind,colour\na.txt,dog,red\nb.txt,,blue\nc.txt,cat,\n")
    source = notes(path)
    assert names_of(source, "kind") == ["dog", None, "cat"]
    assert names_of(source, "colour") == ["red", "blue", None]
    assert source.labels["kind"].names == ("cat", "dog")


def test_chosen_headings_alone_are_labels(tmp_path: Path):
    path = write(tmp_path, "path,kind,url\na.txt,dog,x\n")
    assert set(notes(path, headings=("kind",)).labels) == {"kind"}


def test_whole_numbers_are_ordered_by_value_and_keep_their_zeros(tmp_path: Path):
    path = write(tmp_path, "path,a,b\n1.txt,10,007\n2.txt,9,7\n")
    labels = notes(path).labels
    assert labels["a"].names == ("9", "10")
    assert labels["b"].names == ("007", "7")


def test_parquet_with_typed_columns(tmp_path: Path):
    table = pa.table({"path": ["a.txt", "b.txt", "c.txt"], "label": pa.array([3, None, 1], pa.int32())})
    path = str(tmp_path / "notes.parquet")
    parquet.write_table(table, path)
    source = notes(path)
    assert names_of(source) == ["3", None, "1"]
    assert source.where(1) == str(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table"),
        ("path,label\na.txt\n", "cannot be read as a table"),
        ("a.txt,cat\nb.txt,dog\n", "needs a header row with a column 'path'. Its columns: a.txt, cat"),
        ("path,label\n", "no rows below the header"),
        ("path,label\na.txt,cat\n,dog\n", "row 2 has no path"),
    ],
)
def test_faulty_manifest_is_an_error_that_says_what_is_wrong(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        notes(path)
    assert message in str(caught.value)
    assert path in str(caught.value)


def test_file_that_is_no_table_is_named(tmp_path: Path):
    path = write(tmp_path, "path\n", name="notes.parquet")
    with pytest.raises(DataError, match=r"notes\.parquet: cannot be read as a table"):
        notes(path)


def test_unknown_heading_lists_the_columns(tmp_path: Path):
    path = write(tmp_path, "path,kind\na.txt,dog\n")
    with pytest.raises(DataError, match=r"has no column 'label'\. Its columns: path, kind"):
        notes(path, headings=("label",))


def test_column_that_cannot_be_labels_says_how_to_choose(tmp_path: Path):
    path = str(tmp_path / "notes.parquet")
    parquet.write_table(pa.table({"path": ["a.txt"], "box": [[1, 2]]}), path)
    with pytest.raises(DataError, match=r"column 'box' holds list.*--set modality\.labels"):
        notes(path)
    assert notes(path, headings=()).labels == {}


def test_missing_file_and_folder_are_unreadable_samples_with_their_path(tmp_path: Path):
    (tmp_path / "folder.txt").mkdir()
    source = notes(write(tmp_path, "path\nfolder.txt\ngone.txt\n"))
    for index, reason in enumerate(("Is a directory", "No such file or directory")):
        with pytest.raises(UnreadableSample) as caught:
            source.read(index)
        assert (caught.value.where, caught.value.reason) == (source.where(index), reason)
