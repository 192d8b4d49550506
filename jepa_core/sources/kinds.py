"""What a modality's files are called, and which of the files and folders below a path are samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FEWEST_PARTS = 2
"""Files that a folder must hold to be one sample."""


@dataclass(frozen=True)
class FileKind:
    """The files of a modality.

    >>> notes = FileKind("note", "notes", (".txt", ".png"), folder_suffixes=(".png",))
    >>> notes.takes("A.TXT"), notes.takes_folder(["1.png", "2.png", "page.json"]), notes.takes_folder(["1.png"])
    (True, True, False)
    """

    singular: str
    """What one sample is called in messages, for example "picture"."""
    plural: str
    """What several are called."""
    suffixes: tuple[str, ...]
    """Endings of the files that are taken from a folder, lower case; a manifest may name any file."""
    folder_suffixes: tuple[str, ...] = ()
    """Endings of the files of which a whole folder is one sample, in the order of their names; empty where there is no
    such sample. They may be among `suffixes`: such a file is then a sample of its own in every other folder."""

    def takes(self, name: str) -> bool:
        """Whether a file of that name is a sample; hidden files are none."""
        return name.lower().endswith(self.suffixes) and not name.startswith(".")

    def takes_folder(self, names: Iterable[str]) -> bool:
        """Whether a folder without subfolders that holds files of these names is itself one sample.

        It is when it holds at least two files of `folder_suffixes` and no other file of `suffixes`. The rule looks at
        the folder alone, so the same folder is the same sample wherever it lies: at the path itself, at the first level
        (where it is then no class) or below a class. Files of other kinds do not count.
        """
        if not self.folder_suffixes:
            return False
        parts = others = 0
        for name in names:
            if name.lower().endswith(self.folder_suffixes) and not name.startswith("."):
                parts += 1
            else:
                others += self.takes(name)
        return parts >= FEWEST_PARTS and not others
