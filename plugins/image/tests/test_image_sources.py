from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jepa_core.errors import DataError, UnreadableSample, UsageError
from jepa_image import builtin
from jepa_image.paths import PathTable, class_folders, find_images
from jepa_image.sources import BuiltinSource, FolderSource, ManifestSource, open_path, vocabulary_of

WriteImages = Callable[..., Path]


def names_of(source: FolderSource | ManifestSource, heading: str = "label") -> list[str | None]:
    labels = source.labels[heading]
    return [labels.names[number] if number >= 0 else None for number in labels.ids]


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


class TestFolderSource:
    def test_class_folders_are_labels_in_alphabetical_order(self, write_images: WriteImages):
        source = FolderSource(str(write_images("train", dog=2, cat=3, ant=1)), channels=3)
        assert source.labels["label"].names == ("ant", "cat", "dog")
        assert names_of(source) == [Path(source.where(i)).parent.name for i in range(len(source))]
        assert source.labels["label"].ids.dtype == np.int64

    def test_order_is_alphabetical_and_not_that_of_the_file_system(self, tmp_path: Path):
        names = [f"{letter}/{number}.png" for letter in "cab" for number in (7, 2, 9, 1, 5)]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert list(find_images(str(tmp_path))) == sorted(names)

    def test_classes_may_be_nested_deeper(self, write_images: WriteImages):
        root = write_images("train", cat=1, dog=1)
        write_images("train/cat/2020", january=2)
        source = FolderSource(str(root), channels=3)
        assert sorted(names_of(source), key=str) == ["cat", "cat", "cat", "dog"]

    def test_images_beside_folders_mean_no_labels(self, write_images: WriteImages):
        root = write_images("train", cat=1, dog=1)
        write_images("train", **{".": 2})
        source = FolderSource(str(root), channels=3)
        assert len(source) == 4
        assert source.labels == {}

    def test_one_folder_is_no_class(self, write_images: WriteImages):
        assert FolderSource(str(write_images("train", images=3)), channels=3).labels == {}

    def test_hidden_files_and_other_files_are_passed_over_and_counted(
        self, write_images: WriteImages, caplog: pytest.LogCaptureFixture
    ):
        root = write_images("train", cat=2, dog=2, **{".trash": 2})
        for name in ("notes.txt", "cat/Thumbs.db", "cat/other.txt", "cat/.hidden.png", ".DS_Store", "cat/README"):
            (root / name).write_text("")
        (root / "cat" / "UPPER.PNG").write_bytes((root / "cat" / "000.png").read_bytes())
        source = FolderSource(str(root), channels=3)
        assert len(source) == 5
        assert source.labels["label"].names == ("cat", "dog")
        assert "passed over: 2 .txt, 1 no suffix, 1 .db" in caplog.text

    def test_links_are_followed_but_not_in_circles(self, write_images: WriteImages, tmp_path: Path):
        root = write_images("train", cat=1, dog=1)
        elsewhere = write_images("elsewhere", bird=2)
        (root / "bird").symlink_to(elsewhere / "bird")
        (root / "cat" / "up").symlink_to(root)
        assert names_of(FolderSource(str(root), channels=3)) == ["bird", "bird", "cat", "dog"]

    def test_folder_without_images_is_refused(self, tmp_path: Path):
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(DataError, match=r"no images in this folder.*\.jpg"):
            FolderSource(str(tmp_path), channels=3)

    def test_folder_that_cannot_be_listed_is_an_error_and_not_a_smaller_data_set(
        self, write_images: WriteImages, monkeypatch: pytest.MonkeyPatch
    ):
        root, scandir = write_images("train", cat=1, dog=1), os.scandir

        def guarded(path: str):
            if Path(path).name == "dog":
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(DataError, match=r"dog: cannot be listed \(Permission denied\)"):
            list(find_images(str(root)))

    def test_folder_of_splits_is_refused_with_a_path_that_works(self, write_images: WriteImages):
        root = write_images("data", train=1, val=1)
        with pytest.raises(UsageError, match=r"splits, not classes.*data/train"):
            class_folders(str(root))

    def test_pickle_holds_paths_and_reads_the_same(self, write_images: WriteImages):
        source = FolderSource(str(write_images("train", cat=2, dog=1)), channels=3)
        copy = pickle.loads(pickle.dumps(source))
        assert [copy.where(i) for i in range(3)] == [source.where(i) for i in range(3)]
        assert (copy.read(2) == source.read(2)).all()


class TestSplits:
    def test_test_classes_get_the_ids_of_the_training_data(self, write_images: WriteImages):
        train, test = write_images("train", ant=1, bee=1, cat=1), write_images("test", bee=1, cat=1)
        source = open_path(str(test), 3, vocabulary=vocabulary_of(str(train)))
        assert source.labels["label"].names == ("ant", "bee", "cat")
        assert source.labels["label"].ids.tolist() == [1, 2]

    def test_class_that_the_training_data_lacks_is_named(self, write_images: WriteImages):
        train, test = write_images("train", ant=1, bee=1), write_images("test", ant=1, Bee=1)
        with pytest.raises(
            DataError, match=r"test: labels that the training data does not have: Bee\. It has ant, bee"
        ):
            open_path(str(test), 3, vocabulary=vocabulary_of(str(train)))

    def test_class_without_test_images_is_a_warning(self, write_images: WriteImages, caplog: pytest.LogCaptureFixture):
        train, test = write_images("train", ant=1, bee=1, cat=1), write_images("test", ant=1, bee=1)
        open_path(str(test), 3, vocabulary=vocabulary_of(str(train)))
        assert "no folder for 1 of the training data's classes: cat" in caplog.text

    def test_unlabelled_training_data_leaves_the_test_data_unlabelled(self, write_images: WriteImages):
        train, test = write_images("train", only=1), write_images("test", ant=1, bee=1)
        assert open_path(str(test), 3, vocabulary=vocabulary_of(str(train))).labels == {}

    def test_training_manifest_goes_with_a_test_folder(self, write_images: WriteImages, tmp_path: Path):
        test = write_images("test", ant=1, bee=1)
        manifest = tmp_path / "train.csv"
        manifest.write_text("path,label\na.png,bee\nb.png,cat\nc.png,ant\n")
        source = open_path(str(test), 3, vocabulary=vocabulary_of(str(manifest)))
        assert source.labels["label"].ids.tolist() == [0, 1]

    def test_missing_path_is_a_usage_error_that_says_where_it_was_looked_for(self):
        with pytest.raises(UsageError, match=r"nowhere: does not exist \(seen from /.*Expected a folder"):
            open_path("nowhere", 3)

    def test_single_image_is_a_source_of_one(self, write_images: WriteImages):
        path = write_images("train", cat=1) / "cat" / "000.png"
        source = open_path(str(path), 1)
        assert (len(source), source.where(0), source.read(0).shape) == (1, str(path), (1, 12, 10))


class TestManifestSource:
    def write(self, tmp_path: Path, text: str, name: str = "images.csv") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def test_paths_are_relative_to_the_manifest_and_may_be_absolute(self, write_images: WriteImages, tmp_path: Path):
        root = write_images("train", cat=2)
        path = self.write(tmp_path, f"path\ntrain/cat/000.png\n{root}/cat/001.png\n")
        source = ManifestSource(path, channels=3)
        assert source.labels == {}
        assert [source.read(i).shape for i in range(2)] == [(3, 12, 10)] * 2

    def test_commas_quotes_and_line_breaks_in_fields_are_fields(self, tmp_path: Path):
        path = self.write(tmp_path, 'label,path\n"a, ""b""\nc","x, y.png"\n')
        source = ManifestSource(path, channels=3)
        assert source.where(0) == str(tmp_path / "x, y.png")
        assert names_of(source) == ['a, "b"\nc']

    def test_several_headings_and_rows_without_a_label(self, tmp_path: Path):
        path = self.write(tmp_path, "path,kind,colour\na.png,dog,red\nb.png,,blue\nc.png,cat,\n")
        source = ManifestSource(path, channels=3)
        assert names_of(source, "kind") == ["dog", None, "cat"]
        assert names_of(source, "colour") == ["red", "blue", None]
        assert source.labels["kind"].names == ("cat", "dog")

    def test_chosen_headings_alone_are_labels(self, tmp_path: Path):
        path = self.write(tmp_path, "path,kind,url\na.png,dog,x\n")
        assert set(ManifestSource(path, 3, headings=("kind",)).labels) == {"kind"}

    def test_whole_numbers_are_ordered_by_value_and_keep_their_zeros(self, tmp_path: Path):
        path = self.write(tmp_path, "path,a,b\n1.png,10,007\n2.png,9,7\n")
        labels = ManifestSource(path, channels=3).labels
        assert labels["a"].names == ("9", "10")
        assert labels["b"].names == ("007", "7")

    def test_parquet_with_typed_columns(self, tmp_path: Path):
        table = pa.table({"path": ["a.png", "b.png", "c.png"], "label": pa.array([3, None, 1], pa.int32())})
        path = str(tmp_path / "images.parquet")
        parquet.write_table(table, path)
        source = ManifestSource(path, channels=3)
        assert names_of(source) == ["3", None, "1"]
        assert source.where(1) == str(tmp_path / "b.png")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "cannot be read as a table"),
            ("path,label\na.png\n", "cannot be read as a table"),
            ("a.png,cat\nb.png,dog\n", "needs a header row with a column 'path'. Its columns: a.png, cat"),
            ("path,label\n", "no rows below the header"),
            ("path,label\na.png,cat\n,dog\n", "row 2 has no path"),
        ],
    )
    def test_faulty_manifest_is_an_error_that_says_what_is_wrong(self, tmp_path: Path, text: str, message: str):
        path = self.write(tmp_path, text)
        with pytest.raises(DataError) as caught:
            ManifestSource(path, channels=3)
        assert message in str(caught.value)
        assert path in str(caught.value)

    def test_file_that_is_no_table_is_named(self, tmp_path: Path):
        path = self.write(tmp_path, "path\n", name="images.parquet")
        with pytest.raises(DataError, match=r"images\.parquet: cannot be read as a table"):
            ManifestSource(path, channels=3)

    def test_unknown_heading_lists_the_columns(self, tmp_path: Path):
        path = self.write(tmp_path, "path,kind\na.png,dog\n")
        with pytest.raises(DataError, match=r"has no column 'label'\. Its columns: path, kind"):
            ManifestSource(path, 3, headings=("label",))

    def test_column_that_cannot_be_labels_says_how_to_choose(self, tmp_path: Path):
        path = str(tmp_path / "images.parquet")
        parquet.write_table(pa.table({"path": ["a.png"], "box": [[1, 2]]}), path)
        with pytest.raises(DataError, match=r"column 'box' holds list.*--set modality\.labels"):
            ManifestSource(path, channels=3)
        assert ManifestSource(path, 3, headings=()).labels == {}

    def test_missing_file_and_folder_are_unreadable_samples_with_their_path(self, tmp_path: Path):
        (tmp_path / "folder.png").mkdir()
        source = ManifestSource(self.write(tmp_path, "path\nfolder.png\ngone.png\n"), channels=3)
        for index, reason in enumerate(("Is a directory", "No such file or directory")):
            with pytest.raises(UnreadableSample) as caught:
                source.read(index)
            assert (caught.value.where, caught.value.reason) == (source.where(index), reason)


class TestBuiltinSource:
    def test_splits_are_disjoint_stratified_and_complete(self):
        train, test = (builtin.split_indices(test=test) for test in (False, True))
        assert sorted([*train, *test]) == list(range(10_000))
        for test, per_class in ((False, 800), (True, 200)):
            labels = BuiltinSource(test=test, channels=1).labels["label"]
            assert np.bincount(labels.ids).tolist() == [per_class] * 10
            assert labels.names == builtin.NAMES

    def test_split_is_the_same_for_ever(self):
        assert builtin.split_indices(test=True)[:10].tolist() == [7, 22, 25, 27, 29, 34, 39, 43, 44, 47]
        assert int(builtin.split_indices(test=True).sum()) == 10_204_809

    def test_images_are_views_of_one_array_per_process(self):
        source = BuiltinSource(test=False, channels=1)
        images, _ = builtin.fashion_mnist()
        assert source.read(5).data_ptr() == images[builtin.split_indices(test=False)[5]].data_ptr()

    def test_labels_belong_to_their_images(self):
        # The first images of Fashion-MNIST's test file are an ankle boot, a pullover, two trousers and a shirt.
        source = BuiltinSource(test=False, channels=1)
        labels = source.labels["label"]
        assert [labels.names[number] for number in labels.ids[:5]] == [
            "Ankle boot",
            "Pullover",
            "Trouser",
            "Trouser",
            "Shirt",
        ]
        assert source.where(4) == "fashion-mnist/t10k/4"

    def test_pickle_holds_no_pixels(self):
        assert len(pickle.dumps(BuiltinSource(test=False, channels=1))) < 500

    def test_grey_is_repeated_to_the_channels_asked_for(self):
        image = BuiltinSource(test=True, channels=3).read(0)
        assert image.shape == (3, 28, 28)
        assert (image[0] == image[2]).all()
