from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jepa_core.errors import UnreadableSample
from jepa_core.plugin import Source
from jepa_image import builtin
from jepa_image.builtin import BuiltinSource
from jepa_image.config import ImageConfig
from jepa_image.plugin import image

WriteImages = Callable[..., Path]


class TestFiles:
    def source(self, path: Path, channels: int) -> Source:
        config = ImageConfig(train=str(path), channels=channels, size=(8, 8), patch=(4, 4), mean=(0.5,), std=(0.5,))
        return image.source(config, "probe_train")

    def test_images_of_class_folders_are_read_with_the_channels_asked_for(self, write_images: WriteImages):
        root = write_images("train", cat=2, dog=1)
        (root / "cat" / "notes.txt").write_text("")
        for channels in (1, 3):
            source = self.source(root, channels)
            assert source.labels["label"].ids.tolist() == [0, 0, 1]
            assert [source.read(index).shape for index in range(3)] == [(channels, 12, 10)] * 3

    def test_pickle_holds_paths_and_reads_the_same(self, write_images: WriteImages):
        source = self.source(write_images("train", cat=2, dog=1), channels=3)
        written = pickle.dumps(source)
        copy = pickle.loads(written)
        assert len(written) < 2000
        assert [copy.where(i) for i in range(3)] == [source.where(i) for i in range(3)]
        assert (copy.read(2) == source.read(2)).all()

    def test_single_image_is_a_source_of_one(self, write_images: WriteImages):
        path = write_images("train", cat=1) / "cat" / "000.png"
        source = image.open(ImageConfig(), str(path))
        assert (len(source), source.where(0), source.read(0).shape) == (1, str(path), (3, 12, 10))

    def test_missing_file_and_folder_are_unreadable_samples_with_their_path(self, tmp_path: Path):
        (tmp_path / "folder.png").mkdir()
        manifest = tmp_path / "images.csv"
        manifest.write_text("path\nfolder.png\ngone.png\n")
        source = self.source(manifest, channels=3)
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
