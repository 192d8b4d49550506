"""`jepa report`: one self-contained HTML file about one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jepa_core.errors import JepaError
from jepa_core.model import Parts
from jepa_core.report.gallery import FeatureGallery, MaskGallery, feature_gallery, mask_galleries
from jepa_core.report.gather import gather
from jepa_core.report.page import require_folder, write_page
from jepa_core.report.render import RunReport, render
from jepa_core.report.words import command

__all__ = ["write_report"]


def write_report(runs: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of one run, or of several side by side.

    Args:
        runs: run folders, at least one.
        out: the file; by default report.html in the folder of a single run, or in the current folder.

    Returns:
        The file that was written.

    Raises:
        UsageError: a folder that is no run, or a file that cannot be written.
    """
    paths = [Path(run) for run in runs]
    target = Path(out) if out else (paths[0] if len(paths) == 1 else Path()) / "report.html"
    require_folder(target)
    return write_page(render([_read(path) for path in paths], command("jepa", "report", *map(str, paths))), target)


def _read(path: Path) -> RunReport:
    """All of one run: without a checkpoint, or with its data elsewhere now, it still has a report."""
    facts = gather(path)
    masks: list[MaskGallery] | str
    features: FeatureGallery | str
    try:
        masks = mask_galleries(Parts.of(facts.config))
    except JepaError as error:
        masks = str(error)
    try:
        features = feature_gallery(path) if facts.state else "There is no checkpoint yet."
    except JepaError as error:
        features = str(error)
    return RunReport(facts, masks, features)
