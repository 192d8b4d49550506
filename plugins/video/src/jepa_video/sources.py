"""What counts as a video, and several clips of each as samples of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from jepa_core.order import portions_of
from jepa_core.plugin import Labels, Source
from jepa_core.sources import FileKind
from jepa_core.types import Portion
from jepa_video.decoding import Video
from jepa_video.decoding.pictures import PICTURES

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
    ".gif",
)
"""What counts as a video in a folder, whatever the case; a manifest may name any file."""

VIDEOS = FileKind("video", "videos", (*SUFFIXES, *PICTURES), folder_suffixes=PICTURES)
"""Videos, pictures (clips that stand still), and folders of pictures, which are the frames of one video."""
STILLS = replace(VIDEOS, folder_suffixes=())
"""The same without folders of pictures: each picture is a clip of its own."""
KINDS = {"video": VIDEOS, "stills": STILLS}
"""By `modality.picture_folders`."""


class ClipSource:
    """`parts` samples from each video: number k of a video is about the k-th part of it. For pretraining."""

    def __init__(self, videos: Source, parts: int) -> None:
        """`videos.read` gives `Video`; its labels hold for each of a video's samples."""
        self.videos, self.parts = videos, parts

    @property
    def labels(self) -> Mapping[str, Labels]:
        """Those of the videos, repeated."""
        return {
            heading: Labels(np.repeat(labels.ids, self.parts), labels.names)
            for heading, labels in self.videos.labels.items()
        }

    @property
    def portions(self) -> Sequence[Portion]:
        """The data sets of a mixture, each with all of its videos' clips."""
        return tuple(Portion(each.size * self.parts, each.weight) for each in portions_of(self.videos))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.videos) * self.parts

    def read(self, index: int) -> Video:
        """The video of a sample, with its part; raises UnreadableSample."""
        number, part = divmod(index, self.parts)
        video: Video = self.videos.read(number)
        video.part = (part, self.parts)
        return video

    def where(self, index: int) -> str:
        """The video's path."""
        return self.videos.where(index // self.parts)
