from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import yaml
from PIL import Image
from report_page import Reader, page_of, section, visible
from toy import Toy, ToyConfig, toy_registered
from toy_train import train_toy

from jepa_core.config import Section
from jepa_core.errors import UnreadableSample
from jepa_core.registry import modalities
from jepa_core.report.gallery import MAX_PLAYED
from jepa_core.types import Player


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert train_toy(folder, ["train.steps=1"]) == "done"
    return folder


@pytest.fixture(scope="module")
def page(trained: Path) -> str:
    with toy_registered():
        return page_of(trained)


class PlayingConfig(ToyConfig):
    name: Literal["playing"] = "playing"  # pyright: ignore[reportIncompatibleVariableOverride]
    mime: str = "audio/wav"
    size: int = 12
    silent: bool = False


class Playing(Toy):
    """The toy with something to play; its rows run upwards."""

    name: ClassVar[str] = "playing"
    Config: ClassVar[type[Section]] = PlayingConfig
    upward: ClassVar[Sequence[str]] = ("rows",)

    def player(self, config: Any, raw: Any, max_bytes: int) -> Player:
        if config.silent:
            raise UnreadableSample("a sample", "damaged since")
        return Player(config.mime, bytes([int(255 * abs(float(raw[0, 0]))) % 256]) * (config.size or max_bytes))


@pytest.fixture(scope="module")
def playing(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Callable[..., str]]:
    """The page of the run, as one of a modality with players."""

    def page(**values: Any) -> str:
        run = copytree(trained, tmp_path_factory.mktemp("playing") / "run")
        for path in (run / "config.yaml", *run.glob("checkpoints/*/config.yaml")):
            tree = yaml.safe_load(path.read_text())
            tree["modality"] |= {"name": "playing", **values}
            path.write_text(yaml.safe_dump(tree))
        return page_of(run)

    with toy_registered(), modalities.temporarily(Playing()):
        yield page


def test_queries_and_neighbours_that_sound_have_a_player_each_and_keep_their_pictures(
    playing: Callable[..., str], page: str
) -> None:
    rows = section(playing(), "neighbours")
    assert rows.count("<audio ") == rows.count("<img") == 8 * 7
    players = re.findall(r'<audio [^>]*src="data:audio/wav;base64,([^"]*)"', rows)
    assert all(len(base64.b64decode(player)) == 12 for player in players)
    assert len(set(players)) > 8  # every sample has its own
    assert "exceed 4 MB" in visible(rows)
    assert "<audio" not in page
    assert "exceed" not in visible(section(page, "neighbours"))


def test_pictures_that_move_stand_in_place_of_still_ones_unless_motion_is_unwanted(
    playing: Callable[..., str],
) -> None:
    page = playing(mime="image/gif")
    rows = section(page, "neighbours")
    assert rows.count('<img src="data:image/gif;base64,') == 8 * 7
    still = r'<picture><source srcset="data:image/png;base64,[^"]*" media="\(prefers-reduced-motion: reduce\)"><img'
    assert len(re.findall(still, rows)) == 8 * 7
    assert all(link.startswith(("data:image/", "#")) for link in Reader(page).links)


def test_a_player_may_use_its_share_of_the_bound_and_no_more(playing: Callable[..., str]) -> None:
    rows = section(playing(size=0), "neighbours")  # as large as it may be
    sizes = [len(base64.b64decode(each)) for each in re.findall(r'src="data:audio/wav;base64,([^"]*)"', rows)]
    assert len(sizes) == 8 * 7
    assert 0.99 * MAX_PLAYED < sum(sizes) <= MAX_PLAYED
    words = visible(section(playing(size=MAX_PLAYED // len(sizes) + 1), "neighbours"))
    assert re.search(r"modality playing: its player of toy:\w+/\d+ has 71,429 bytes, and 71,428 are allowed", words)


def test_a_sample_that_cannot_be_played_keeps_its_picture(playing: Callable[..., str]) -> None:
    rows = section(playing(silent=True), "neighbours")
    assert "<audio" not in rows
    assert rows.count("<img") == 8 * 7


def test_axes_that_run_upwards_turn_every_picture_over(playing: Callable[..., str], page: str) -> None:
    turned = playing()
    for name in ("masks", "features", "neighbours"):
        pairs = list(zip(embedded_pictures(section(page, name)), embedded_pictures(section(turned, name)), strict=True))
        assert pairs
        assert all((before[::-1] == after).all() for before, after in pairs)
    assert "Columns runs to the right, rows upwards." in visible(section(turned, "masks"))
    assert "Columns runs to the right, rows downwards." in visible(section(page, "masks"))


def embedded_pictures(part: str) -> list[np.ndarray]:
    files = re.findall(r'src="data:image/png;base64,([^"]*)"', part)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))) for file in files]


@pytest.mark.parametrize(("mime", "content"), [("text/html", b"x"), ("audio", b"x"), ("audio/wav", b"")])
def test_only_what_a_browser_plays_is_a_player(mime: str, content: bytes) -> None:
    with pytest.raises(ValueError, match="a player needs content of type"):
        Player(mime, content)
