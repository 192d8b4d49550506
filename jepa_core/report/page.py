"""What all report pages share: their templates' environment, and how they reach the disk."""

from __future__ import annotations

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from jepa_core.errors import UsageError
from jepa_core.report import words


def environment(*folders: str) -> Environment:
    """Templates below `jepa_core/<folder>` for each folder, then those of the reports themselves, such as style.css.

    Everything is escaped: names of samples, labels, arms and folders are a stranger's text.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader("jepa_core", folder) for folder in (*folders, "report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"points": words.points, "percent": words.percent, "signed": words.signed}
    return made


def require_folder(out: Path) -> None:
    """Raises UsageError where a file has no folder to lie in: said before minutes of work."""
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent}. Choose another file with --out.")


def write_page(page: str, out: Path) -> Path:
    """Write a page and return its file; raises UsageError where it cannot be written."""
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error}). Choose another file with --out.") from error
    return out
