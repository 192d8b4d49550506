"""A kind of files for tests of sources: notes, which are text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jepa_core.errors import UnreadableSample
from jepa_core.sources import FileKind, FileSource, Vocabulary, open_path

WriteNotes = Callable[..., Path]
NOTES = FileKind("note", "notes", (".txt", ".md"))


def read_note(path: str) -> str:
    """The text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableSample(path, str(error.strerror)) from error


def notes(path: str | Path, headings: Sequence[str] | None = None, vocabulary: Vocabulary | None = None) -> FileSource:
    """The notes that a path names."""
    return open_path(str(path), NOTES, read_note, headings, vocabulary)


def names_of(source: FileSource, heading: str = "label") -> list[str | None]:
    """The label of every note."""
    labels = source.labels[heading]
    return [labels.names[number] if number >= 0 else None for number in labels.ids]
