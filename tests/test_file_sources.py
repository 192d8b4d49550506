from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from notes import NOTES, WriteNotes, names_of, notes, read_note

from jepa_core.config.files import FileSection, Part
from jepa_core.errors import ConfigError, DataError, UsageError
from jepa_core.plugin import Mixture, Source, Split
from jepa_core.sources import (
    FileKind,
    PathTable,
    class_folders,
    find_samples,
    open_path,
    split_source,
    vocabulary_of,
)
from jepa_core.types import Portion


class TestPathTable:
    def test_gives_back_every_path_whatever_its_characters(self):
        paths = ["a.png", "", "ünïcödé/汉字.jpg", os.fsdecode(b"not-utf8-\xff.png"), "with space, comma.png"]
        table = PathTable.of(path for path in paths)
        assert [table[index] for index in range(len(table))] == paths

    def test_costs_the_characters_and_eight_bytes_a_path(self):
        paths = PathTable.of(f"n{number % 1000:08}/n{number % 1000:08}_{number:05}.JPEG" for number in range(20_000))
        assert paths.nbytes <= 20_000 * (30 + 8)
        assert len(pickle.dumps(paths)) <= 20_000 * (30 + 8) + 1000

    def test_reading_it_leaves_nothing_behind(self):
        table = PathTable.of(f"{number:020}" for number in range(20_000))
        tracemalloc.start()
        for index in range(len(table)):
            _ = table[index]
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 20_000

    def test_index_beyond_the_end_is_an_error(self):
        with pytest.raises(IndexError):
            _ = PathTable.of(["a"])[1]


class TestFolders:
    def test_class_folders_are_labels_in_alphabetical_order(self, write_notes: WriteNotes):
        source = notes(write_notes("train", dog=2, cat=3, ant=1))
        assert source.labels["label"].names == ("ant", "cat", "dog")
        assert names_of(source) == [Path(source.where(i)).parent.name for i in range(len(source))]
        assert source.labels["label"].ids.dtype == np.int64

    def test_order_is_alphabetical_and_not_that_of_the_file_system(self, tmp_path: Path):
        names = [f"{letter}/{number}.txt" for letter in "cab" for number in (7, 2, 9, 1, 5)]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert list(find_samples(str(tmp_path), NOTES)) == sorted(names)

    def test_classes_may_be_nested_deeper(self, write_notes: WriteNotes):
        root = write_notes("train", cat=1, dog=1)
        write_notes("train/cat/2020", january=2)
        source = notes(root)
        assert sorted(names_of(source), key=str) == ["cat", "cat", "cat", "dog"]

    def test_notes_beside_folders_mean_no_labels(self, write_notes: WriteNotes):
        root = write_notes("train", cat=1, dog=1)
        write_notes("train", **{".": 2})
        source = notes(root)
        assert len(source) == 4
        assert source.labels == {}

    def test_one_folder_is_no_class(self, write_notes: WriteNotes):
        assert notes(write_notes("train", all=3)).labels == {}

    def test_hidden_files_and_other_files_are_passed_over_and_counted(
        self, write_notes: WriteNotes, caplog: pytest.LogCaptureFixture
    ):
        root = write_notes("train", cat=2, dog=2, **{".trash": 2})
        for name in ("notes.log", "cat/Thumbs.db", "cat/other.log", "cat/.hidden.txt", ".DS_Store", "cat/README"):
            (root / name).write_text("")
        (root / "cat" / "UPPER.TXT").write_bytes((root / "cat" / "000.txt").read_bytes())
        source = notes(root)
        assert len(source) == 5
        assert source.labels["label"].names == ("cat", "dog")
        assert "passed over: 2 .log, 1 no suffix, 1 .db" in caplog.text

    def test_links_are_followed_but_not_in_circles(self, write_notes: WriteNotes, tmp_path: Path):
        root = write_notes("train", cat=1, dog=1)
        elsewhere = write_notes("elsewhere", bird=2)
        (root / "bird").symlink_to(elsewhere / "bird")
        (root / "cat" / "up").symlink_to(root)
        assert names_of(notes(root)) == ["bird", "bird", "cat", "dog"]

    def test_folder_without_notes_is_refused(self, tmp_path: Path):
        (tmp_path / "notes.log").write_text("")
        with pytest.raises(DataError, match=r"no notes in this folder\. Known are \.txt \.md"):
            notes(tmp_path)

    def test_folder_that_cannot_be_listed_is_an_error_and_not_a_smaller_data_set(
        self, write_notes: WriteNotes, monkeypatch: pytest.MonkeyPatch
    ):
        root, scandir = write_notes("train", cat=1, dog=1), os.scandir

        def guarded(path: str):
            if Path(path).name == "dog":
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(DataError, match=r"dog: cannot be listed \(Permission denied\)"):
            list(find_samples(str(root), NOTES))

    def test_folder_of_splits_is_refused_with_a_path_that_works(self, write_notes: WriteNotes):
        root = write_notes("data", train=1, val=1)
        with pytest.raises(UsageError, match=r"splits, not classes.*data/train"):
            class_folders(str(root), NOTES)

    def test_pickle_holds_paths_and_reads_the_same(self, write_notes: WriteNotes):
        source = notes(write_notes("train", cat=2, dog=1))
        written = pickle.dumps(source)
        copy = pickle.loads(written)
        assert len(written) < 1500
        assert [copy.where(i) for i in range(3)] == [source.where(i) for i in range(3)]
        assert copy.read(2) == source.read(2) == "dog 0"


class TestClasses:
    def test_test_classes_get_the_ids_of_the_training_data(self, write_notes: WriteNotes):
        train, test = write_notes("train", ant=1, bee=1, cat=1), write_notes("test", bee=1, cat=1)
        source = notes(test, vocabulary=vocabulary_of(str(train), NOTES))
        assert source.labels["label"].names == ("ant", "bee", "cat")
        assert source.labels["label"].ids.tolist() == [1, 2]

    def test_class_that_the_training_data_lacks_is_named(self, write_notes: WriteNotes):
        train, test = write_notes("train", ant=1, bee=1), write_notes("test", ant=1, Bee=1)
        with pytest.raises(
            DataError, match=r"test: labels that the training data does not have: Bee\. It has ant, bee"
        ):
            notes(test, vocabulary=vocabulary_of(str(train), NOTES))

    def test_class_without_test_notes_is_a_warning(self, write_notes: WriteNotes, caplog: pytest.LogCaptureFixture):
        train, test = write_notes("train", ant=1, bee=1, cat=1), write_notes("test", ant=1, bee=1)
        notes(test, vocabulary=vocabulary_of(str(train), NOTES))
        assert "no folder for 1 of the training data's classes: cat" in caplog.text

    def test_unlabelled_training_data_leaves_the_test_data_unlabelled(self, write_notes: WriteNotes):
        train, test = write_notes("train", only=1), write_notes("test", ant=1, bee=1)
        assert notes(test, vocabulary=vocabulary_of(str(train), NOTES)).labels == {}

    def test_training_manifest_goes_with_a_test_folder(self, write_notes: WriteNotes, tmp_path: Path):
        test = write_notes("test", ant=1, bee=1)
        manifest = tmp_path / "train.csv"
        manifest.write_text("path,label\na.txt,bee\nb.txt,cat\nc.txt,ant\n")
        source = notes(test, vocabulary=vocabulary_of(str(manifest), NOTES))
        assert source.labels["label"].ids.tolist() == [0, 1]

    def test_missing_path_is_a_usage_error_that_says_where_it_was_looked_for(self):
        with pytest.raises(UsageError, match=r"nowhere: does not exist \(seen from /.*Expected a folder"):
            notes("nowhere")

    def test_single_file_is_a_source_of_one(self, write_notes: WriteNotes):
        path = write_notes("train", cat=1) / "cat" / "000.txt"
        source = notes(path)
        assert (len(source), source.where(0), source.read(0)) == (1, str(path), "cat 0")


class TestFolderSamples:
    """Folders of .png pages are notes too; a single page is a note of its own."""

    KIND = FileKind("note", "notes", (".txt", ".png"), folder_suffixes=(".png",))

    def make(self, root: Path, *names: str) -> Path:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return root

    def found(self, root: Path) -> list[str]:
        return list(find_samples(str(root), self.KIND))

    def test_folder_of_pages_is_one_sample_and_a_class_holds_such_folders_and_files(self, tmp_path: Path):
        root = self.make(tmp_path, "a/first/1.png", "a/first/2.png", "a/x.txt", "b/second/1.PNG", "b/second/2.png")
        assert self.found(root) == ["a/x.txt", "a/first", "b/second"]
        assert names_of(open_path(str(root), self.KIND, str)) == ["a", "a", "b"]
        assert vocabulary_of(str(root), self.KIND) == {"label": ("a", "b")}

    def test_folders_of_pages_at_the_first_level_are_samples_and_no_classes(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level("INFO")
        root = self.make(tmp_path, *(f"clip{number}/{page}.png" for number in range(3) for page in range(2)))
        source = open_path(str(root), self.KIND, str)
        assert [source.where(index) for index in range(len(source))] == [str(root / f"clip{n}") for n in range(3)]
        assert source.labels == {}
        assert "3 folders without subfolders are one note each" in caplog.text

    def test_path_that_is_such_a_folder_is_a_source_of_one(self, tmp_path: Path):
        source = open_path(str(self.make(tmp_path / "clip", "1.png", "2.png")), self.KIND, str)
        assert [source.where(index) for index in range(len(source))] == [str(tmp_path / "clip")]

    @pytest.mark.parametrize(
        ("names", "samples"),
        [
            (("one/1.png",), ["one/1.png"]),
            (("one/1.png", "one/2.png", "one/x.txt"), ["one/1.png", "one/2.png", "one/x.txt"]),
            (("one/1.png", "one/2.png", "one/more/x.txt"), ["one/1.png", "one/2.png", "one/more/x.txt"]),
            (("one/1.png", "one/2.png", "one/times.json", "one/.hidden.txt", "one/.cache/x.txt"), ["one"]),
            (("one/1.png", "one/.2.png"), ["one/1.png"]),
        ],
    )
    def test_one_page_and_mixed_folders_are_files(self, tmp_path: Path, names: tuple[str, ...], samples: list[str]):
        assert self.found(self.make(tmp_path, *names)) == samples

    def test_kind_that_does_not_ask_for_them_takes_every_page(self, tmp_path: Path):
        root = self.make(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
        kind = FileKind("note", "notes", (".txt", ".png"))
        assert len(list(find_samples(str(root), kind))) == 4
        assert class_folders(str(root), kind) == ("a", "b")


class TestSplitSource:
    def section(self, **values: Any) -> FileSection:
        return FileSection(name="notes", **values)

    def source(self, split: Split, **values: Any) -> Source:
        return split_source(self.section(**values), split, NOTES, read_note)

    def test_pretraining_reads_its_own_path_or_else_the_training_data(self, write_notes: WriteNotes):
        train, more = str(write_notes("train", a=2, b=2)), str(write_notes("more", x=7))
        assert len(self.source("pretrain", train=train)) == 4
        assert len(self.source("pretrain", train=train, pretrain=more)) == 7
        assert len(self.source("probe_train", train=train, pretrain=more)) == 4

    def test_test_classes_get_the_ids_of_the_training_data(self, write_notes: WriteNotes):
        train, test = str(write_notes("train", a=1, b=1, c=1)), str(write_notes("test", b=1, c=1))
        labels = self.source("probe_test", train=train, test=test).labels["label"]
        assert (labels.ids.tolist(), labels.names) == ([1, 2], ("a", "b", "c"))

    def test_a_mixture_is_its_parts_one_after_the_other_with_their_weights(
        self, write_notes: WriteNotes, tmp_path: Path
    ):
        folder, manifest = write_notes("folder", a=2, b=1), tmp_path / "list.csv"
        manifest.write_text("path,label\nfolder/b/000.txt,x\n")
        parts = (Part(path=str(folder), weight=3.0), Part(path=str(manifest)))
        source = self.source("pretrain", pretrain=parts)
        assert [source.read(index) for index in range(len(source))] == ["a 0", "a 1", "b 0", "b 0"]
        assert source.where(3) == str(tmp_path / "folder" / "b" / "000.txt")
        assert source.labels == {}
        assert isinstance(source, Mixture)
        assert source.portions == (Portion(3, 3.0), Portion(1, 1.0))

    @pytest.mark.parametrize(
        ("split", "key"), [("pretrain", "train"), ("probe_train", "train"), ("probe_test", "test")]
    )
    def test_path_that_is_not_set_is_named_with_the_option_that_gives_it(
        self, write_notes: WriteNotes, split: Split, key: str
    ):
        given = {"train": str(write_notes("train", a=1))} if key == "test" else {}
        with pytest.raises(ConfigError, match=rf"modality\.{key}: not set\. It is a folder of notes .*{key}=PATH$"):
            self.source(split, **given)

    def test_labels_of_the_test_data_are_chosen_by_the_configuration(self, tmp_path: Path):
        for name in ("train", "test"):
            (tmp_path / f"{name}.csv").write_text("path,kind,url\na.txt,dog,x\n")
        paths = {name: str(tmp_path / f"{name}.csv") for name in ("train", "test")}
        assert set(self.source("probe_test", labels=("kind",), **paths).labels) == {"kind"}
