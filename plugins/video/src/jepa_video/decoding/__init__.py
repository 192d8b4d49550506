"""From a path to frames: video files by PyAV, decord or torchcodec, folders of pictures, single pictures."""

from jepa_video.decoding.video import Video, open_video

__all__ = ["Video", "open_video"]
