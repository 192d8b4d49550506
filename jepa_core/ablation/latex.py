"""The table of a study for a paper: arms by bases, with booktabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jepa_core.ablation.analysis import Analysis, Row
from jepa_core.ablation.figures import bounded
from jepa_core.report.words import points

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "\u00a0": "~",
}


def escaped(text: str) -> str:
    r"""Text of a stranger as LaTeX shows it, the same characters.

    >>> escaped("depth_12 & 50%")
    'depth\\_12 \\& 50\\%'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex_table(analysis: Analysis) -> str:
    """A `table*` of two columns per base: accuracy, and difference from the reference with its adjusted interval.

    Differences whose interval lies on one side of zero are bold. The document needs the package booktabs.
    """
    study = analysis.results.study
    bases = [base for base in study.config.bases if base in analysis.primary]
    rows = {(row.base, row.arm): row for row in analysis.rows if row.metric == analysis.primary[row.base]}
    heads = [rf"\multicolumn{{2}}{{c}}{{{escaped(f'{base} ({analysis.primary[base]})')}}}" for base in bases]
    rules = [rf"\cmidrule(lr){{{2 + 2 * place}-{3 + 2 * place}}}" for place in range(len(bases))]
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escaped(_caption(analysis))}}}",
        rf"\begin{{tabular}}{{l{'rl' * len(bases)}}}",
        r"\toprule",
        _line(["", *heads]),
        "".join(rules),
        _line(["arm", *(["accuracy, \\%", "difference"] * len(bases))]),
        r"\midrule",
        *(_line([escaped(arm), *_cells(arm, bases, rows, study.reference)]) for arm in study.arms),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _caption(analysis: Analysis) -> str:
    study = analysis.results.study
    config = study.config
    counts = {len(row.accuracies) for row in analysis.rows}
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}" if counts else "no"
    compared = sum(row.difference is not None and row.metric == analysis.primary[row.base] for row in analysis.rows)
    return (
        f"{config.title or f'{study.name}.'} Accuracy of frozen probes, mean ± standard deviation over {seeds} seeds; "
        f"difference from {study.reference} in points, with {100 * config.confidence:g} % intervals over seeds and "
        f"test samples that hold for all {compared} comparisons at once. Bold: the interval lies on one side of zero."
    )


def _cells(arm: str, bases: Sequence[str], rows: Mapping[tuple[str, str], Row], reference: str) -> list[str]:
    cells: list[str] = []
    for base in bases:
        row = rows.get((base, arm))
        cells += ["--", ""] if row is None else [_accuracy(row), "reference" if arm == reference else _difference(row)]
    return cells


def _accuracy(row: Row) -> str:
    return points(row.mean) if row.std is None else rf"{points(row.mean)} $\pm$ {points(row.std)}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return ""
    low, high = row.difference.adjusted_low, row.difference.adjusted_high
    value = f"{100 * row.difference.value:+.1f}"
    if not bounded(low, high):
        return f"${value}$"
    strong = rf"\mathbf{{{value}}}" if row.difference.stands else value
    return rf"${strong}\ [{100 * low:+.1f},\ {100 * high:+.1f}]$"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
