from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from jepa_core.errors import UnreadableSample
from jepa_image.decoding import read_pixels


def random_image(height: int = 20, width: int = 30, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(format: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    random_image(mode=mode).save(buffer, format, **options)
    return buffer.getvalue()


def saved(tmp_path: Path, image: Image.Image, name: str = "image.png", **options: Any) -> str:
    path = tmp_path / name
    image.save(path, **options)
    return str(path)


class TestChannels:
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_every_mode_gives_every_number_of_channels(self, tmp_path: Path, mode: str, channels: int):
        pixels = read_pixels(saved(tmp_path, random_image(mode=mode)), channels)
        assert (pixels.shape, pixels.dtype) == ((channels, 20, 30), torch.uint8)

    def test_rgb_is_what_was_saved(self, tmp_path: Path):
        image = random_image()
        assert (read_pixels(saved(tmp_path, image), 3).permute(1, 2, 0).numpy() == np.asarray(image)).all()

    def test_grey_is_repeated_and_colour_becomes_luma(self, tmp_path: Path):
        grey = read_pixels(saved(tmp_path, random_image(mode="L")), 3)
        assert (grey[0] == grey[1]).all()
        assert (grey[0] == grey[2]).all()
        green = Image.new("RGB", (2, 2), (0, 255, 0))
        assert read_pixels(saved(tmp_path, green), 1).unique().tolist() == [150]  # .587 x 255

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparency_is_laid_over_white(self, tmp_path: Path, mode: str):
        black, options = Image.new("RGBA", (2, 2), (0, 0, 0, 0)), {}
        if mode == "P":
            black, options = Image.new("P", (2, 2), 0), {"transparency": 0}
        elif mode == "LA":
            black = black.convert("LA")
        assert read_pixels(saved(tmp_path, black, "image.png", **options), 3).unique().tolist() == [255]

    def test_alpha_is_kept_where_it_is_a_channel(self, tmp_path: Path):
        image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
        assert read_pixels(saved(tmp_path, image), 4)[:, 0, 0].tolist() == [1, 2, 3, 4]

    def test_cmyk_jpeg_is_converted(self, tmp_path: Path):
        image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
        red, green, blue = read_pixels(saved(tmp_path, image, "image.jpg"), 3)[:, 0, 0].tolist()
        assert red < 30
        assert green > 150
        assert blue > 200

    def test_sixteen_bits_are_kept_as_shares_of_the_range(self, tmp_path: Path):
        values = np.array([[0, 1, 32768, 65535]], dtype=np.uint16)
        pixels = read_pixels(saved(tmp_path, Image.fromarray(values)), 3)
        assert pixels.dtype == torch.float32
        assert pixels[2, 0].tolist() == pytest.approx([0, 1 / 65535, 32768 / 65535, 1])

    def test_exif_orientation_turns_the_image_upright(self, tmp_path: Path):
        image, exif = random_image(), Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees clockwise
        pixels = read_pixels(saved(tmp_path, image, exif=exif), 3)
        assert (pixels.permute(1, 2, 0).numpy() == np.rot90(np.asarray(image), k=-1)).all()

    def test_first_picture_of_an_animation_is_read(self, tmp_path: Path):
        first, second = Image.new("L", (4, 4), 10), Image.new("L", (4, 4), 200)
        path = saved(tmp_path, first, "image.gif", save_all=True, append_images=[second])
        assert read_pixels(path, 1).unique().tolist() == [10]


class TestArrays:
    def saved(self, tmp_path: Path, array: np.ndarray) -> str:
        np.save(tmp_path / "array.npy", array)
        return str(tmp_path / "array.npy")

    @pytest.mark.parametrize("shape", [(12, 4, 5), (4, 5, 12)])
    def test_channels_come_first_or_last(self, tmp_path: Path, shape: tuple[int, ...]):
        array = np.random.default_rng(0).random(shape, dtype=np.float32)
        expected = array if shape[0] == 12 else array.transpose(2, 0, 1)
        assert (read_pixels(self.saved(tmp_path, array), 12).numpy() == expected).all()

    def test_one_channel_needs_no_axis(self, tmp_path: Path):
        assert read_pixels(self.saved(tmp_path, np.ones((4, 5), np.uint8)), 1).shape == (1, 4, 5)

    def test_bytes_stay_bytes_and_words_become_shares(self, tmp_path: Path):
        assert read_pixels(self.saved(tmp_path, np.full((2, 4, 5), 7, np.uint8)), 2).dtype == torch.uint8
        words = read_pixels(self.saved(tmp_path, np.full((2, 4, 5), 65535, np.uint16)), 2)
        assert words.unique().tolist() == [1.0]

    def test_floats_are_taken_as_they_are(self, tmp_path: Path):
        assert read_pixels(self.saved(tmp_path, np.full((2, 4, 5), -3.5)), 2).unique().tolist() == [-3.5]

    @pytest.mark.parametrize(
        ("array", "reason"),
        [
            (np.zeros((5, 4, 4), np.uint8), r"has the shape \(5, 4, 4\), and modality.channels is 3"),
            (np.zeros((3, 0, 4), np.uint8), "shape|mmap|empty"),
            (np.zeros((3, 4, 4), np.int64), "holds int64: allowed are uint8, uint16 and floats"),
            (np.full((3, 4, 4), np.nan), "not finite"),
            (np.array([{}], dtype=object), "Object arrays cannot be loaded|Array can't be memory-mapped"),
        ],
    )
    def test_array_that_cannot_be_used_is_unreadable(self, tmp_path: Path, array: np.ndarray, reason: str):
        with pytest.raises(UnreadableSample, match=reason):
            read_pixels(self.saved(tmp_path, array), 3)

    def test_header_that_promises_terabytes_costs_no_memory(self, tmp_path: Path):
        path = self.saved(tmp_path, np.zeros((3, 4, 4), np.uint8))
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole.replace(b"(3, 4, 4)", b"(3,999999999,999)"[:9].ljust(9), 1))
        with pytest.raises(UnreadableSample):
            read_pixels(path, 3)

    def test_archive_of_arrays_is_unreadable(self, tmp_path: Path):
        with (tmp_path / "array.npy").open("wb") as file:
            np.savez(file, a=np.zeros(3))
        with pytest.raises(UnreadableSample, match="archive"):
            read_pixels(str(tmp_path / "array.npy"), 3)


DAMAGED = {
    "empty.png": b"",
    "text.jpg": b"<html>404 Not Found</html>",
    "cut-short.png": encoded("PNG")[:-300],
    "cut-short.jpg": encoded("JPEG")[:-200],
    "cut-short.webp": encoded("WEBP")[:-100],
    "cut-short.bmp": encoded("BMP")[:-100],
    "cut-short.gif": encoded("GIF", "P")[:-200],
    "cut-short.tif": encoded("TIFF")[:-300],
    "header-only.jpg": encoded("JPEG")[:20],
    "bad-checksum.png": encoded("PNG")[:60] + bytes(8) + encoded("PNG")[68:],
    "pickle.npy": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.",
    "empty.npy": b"",
    "no-header.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': (",
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGED)
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_damaged_file_is_unreadable_and_named(self, tmp_path: Path, name: str):
        path = tmp_path / name
        path.write_bytes(DAMAGED[name])
        with pytest.raises(UnreadableSample) as caught:
            read_pixels(str(path), 3)
        assert caught.value.where == str(path)
        assert caught.value.reason
        assert str(path) not in caught.value.reason

    def test_directory_missing_file_and_forbidden_file_are_unreadable(self, tmp_path: Path):
        (tmp_path / "folder.png").mkdir()
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        for name in ("folder.png", "missing.png", "loop.png", "missing.npy"):
            with pytest.raises(UnreadableSample, match=name):
                read_pixels(str(tmp_path / name), 3)

    def test_decompression_bomb_is_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = saved(tmp_path, Image.new("L", (100, 100)))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
        with pytest.raises(UnreadableSample, match="decompression bomb"):
            read_pixels(path, 1)

    @pytest.mark.parametrize(
        ("mode", "channels", "reason"),
        [
            ("F", 3, "32-bit values"),
            ("I;16", 4, "16-bit grey"),
            ("RGB", 12, r"no \.npy array, which modality.channels = 12"),
        ],
    )
    def test_content_that_does_not_give_the_channels_is_unreadable(
        self, tmp_path: Path, mode: str, channels: int, reason: str
    ):
        values = {"F": np.zeros((4, 4), np.float32), "I;16": np.zeros((4, 4), np.uint16)}.get(mode)
        image = random_image() if values is None else Image.fromarray(values)
        with pytest.raises(UnreadableSample, match=reason):
            read_pixels(saved(tmp_path, image, "image.tif"), channels)

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "npy"])
    def test_random_damage_never_raises_anything_else(self, tmp_path: Path, format: str):
        random = np.random.default_rng(0)
        if format == "npy":
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(random_image()))
            whole = buffer.getvalue()
        else:
            whole = encoded(format, "P" if format == "GIF" else "RGB")
        path, failed = tmp_path / f"image.{format.lower()}", 0
        for _ in range(60):
            damaged = bytearray(whole[: random.integers(1, len(whole))] if random.random() < 0.3 else whole)
            for place in random.integers(0, min(len(damaged), 400), 4):
                damaged[place] = random.integers(0, 256)
            path.write_bytes(damaged)
            with warnings.catch_warnings(action="ignore"):
                try:
                    assert read_pixels(str(path), 3).dtype in {torch.uint8, torch.float32}
                except UnreadableSample:
                    failed += 1
        assert failed > 5


def test_an_empty_file_and_one_of_another_kind_are_told_apart(tmp_path: Path) -> None:
    for content, reason in ((b"", "the file is empty"), (b"no picture", "no image of a known format")):
        path = tmp_path / "picture.png"
        path.write_bytes(content)
        with pytest.raises(UnreadableSample, match=f"{reason}$"):
            read_pixels(str(path), 3)
