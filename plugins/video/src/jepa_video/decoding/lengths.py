"""How many bytes a file says that it has: what tells one that is cut short from a whole one."""

from __future__ import annotations

import os

from av.video.stream import VideoStream

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""Identifiers of the two top-level elements of a Matroska or WebM file (RFC 9559)."""


def is_cut_short(path: str, stream: VideoStream) -> bool:
    """Whether the file ends before the place that its own header or table of samples names.

    Known for MP4 and MOV (table of samples), Matroska and WebM, and AVI; other formats promise nothing.
    """
    table = stream.index_entries
    last = table[len(table) - 1] if len(table) else None
    with open(path, "rb") as file:
        promised = _promised(file.read(64))
    return os.path.getsize(path) < max(promised, last.pos + last.size if last else 0)


def _promised(head: bytes) -> int:
    """The length that the first bytes of a file state; 0 where they state none."""
    if head.startswith(b"RIFF"):
        return 8 + int.from_bytes(head[4:8], "little")
    if head.startswith(EBML):
        start, length = _element(head, len(EBML))
        segment = start + length
        if head.startswith(SEGMENT, segment):
            start, length = _element(head, segment + len(SEGMENT))
            return start + length
    return 0


def _element(head: bytes, at: int) -> tuple[int, int]:
    """Where the content of an element begins, whose length stands at `at`, and that length (0: unknown)."""
    size = 9 - head[at].bit_length() if at < len(head) else 1
    length = int.from_bytes(head[at : at + size], "big") & ((1 << 7 * size) - 1)
    unknown = length == (1 << 7 * size) - 1  # written to a pipe
    return at + size, 0 if unknown else length
