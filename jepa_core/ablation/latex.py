"""The table of a study for a paper: arms by bases, with booktabs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from jepa_core.ablation.analysis import Analysis, Difference, Row
from jepa_core.ablation.cells import Study
from jepa_core.ablation.findings import bounded, seeds_apart
from jepa_core.ablation.sentences import controls, seeds_named
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

    Differences whose interval lies on one side of zero are bold, unless a better arm collapsed. Collapse, seeds without
    a result and arms that do not exist are explained in notes below. The document needs the package booktabs.
    """
    study, notes = analysis.results.study, _Notes()
    bases = [_Base.of(analysis, name) for name in study.config.bases if name in analysis.primary]
    titles = [f"{base.name} ({analysis.primary[base.name]})" for base in bases]
    heads = [rf"\multicolumn{{2}}{{c}}{{{escaped(title)}}}" for title in titles]
    rules = [rf"\cmidrule(lr){{{2 + 2 * place}-{3 + 2 * place}}}" for place in range(len(bases))]
    untrained = _without_training(bases)
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
        *(_line([escaped(arm), *(cell for base in bases for cell in base.cells(arm, notes))]) for arm in study.arms),
        *([r"\midrule", *untrained] if untrained else []),
        r"\bottomrule",
        r"\end{tabular}",
        *notes.lines(),
        r"\end{table*}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


class _Notes:
    """Remarks below the table, each with the mark that cells carry; a remark is made once."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, *texts: str) -> str:
        """The signs of remarks, as they stand in a cell; nothing for none."""
        self._texts += [text for text in texts if text not in self._texts]
        numbers = ",".join(str(self._texts.index(text) + 1) for text in texts)
        return rf"\textsuperscript{{{numbers}}}" if numbers else ""

    def lines(self) -> list[str]:
        """All remarks."""
        if not self._texts:
            return []
        return [
            r"\par\smallskip\footnotesize",
            r"\quad ".join(f"{self.mark(each)}~{escaped(each)}" for each in self._texts),
        ]


def _caption(analysis: Analysis) -> str:
    study = analysis.results.study
    config, title = study.config, study.config.title.strip() or study.name
    seeds = len(config.seeds)
    measured = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    family = [row.difference for row in analysis.rows if row.difference and row.metric == analysis.primary[row.base]]
    parts = [title if title[-1] in ".?!" else f"{title}.", f"Accuracy of frozen probes, {measured};"]
    said = f"difference from {study.reference} in points"
    if any(bounded(each.adjusted_low, each.adjusted_high) for each in family):
        held = "" if len(family) == 1 else f" that hold for all {len(family)} comparisons at once"
        said += f", with {100 * config.confidence:g} % intervals over seeds and test samples{held}"
        said += ". Bold: the interval lies on one side of zero"
    elif family:
        said += ", without intervals: these need two seeds at the least"
    return f"{' '.join(parts)} {said}."


@dataclass(frozen=True)
class _Base:
    """What the cells of a base are made from."""

    name: str
    study: Study
    rows: Mapping[str, Row]
    """By arm, of the metric that decides."""
    fallen: Collection[str]
    """Arms that collapsed with any seed."""

    @classmethod
    def of(cls, analysis: Analysis, name: str) -> _Base:
        decides = (name, analysis.primary[name])
        return cls(
            name=name,
            study=analysis.results.study,
            rows={row.arm: row for row in analysis.rows if (row.base, row.metric) == decides},
            fallen=[each.arm for each in analysis.facts if each.base == name and each.verdict == "collapsed"],
        )

    def cells(self, arm: str, notes: _Notes) -> list[str]:
        """Accuracy and difference of an arm, with the marks of what is to be said of them."""
        row, study = self.rows.get(arm), self.study
        if row is None:
            why = study.absent.get((self.name, arm), "no cell has a result")
            mark = notes.mark(f"{arm} on {self.name}: {why.removesuffix('.')}.")
            return [f"--{mark}", ""]
        apart, own = seeds_apart(row, list(self.rows.values()), study.reference), list(row.accuracies)
        remarks = ["Collapsed with at least one seed; not bold where better."] if arm in self.fallen else []
        if len(own) < len(study.config.seeds):
            remarks.append(f"Mean over {seeds_named(own)}.")
        first, second = f"{_accuracy(row)}{notes.mark(*remarks)}", "reference" if arm == study.reference else ""
        if row.difference:
            second = _difference(row.difference, strong=arm not in self.fallen or row.difference.value < 0)
            second += notes.mark(f"Difference over {seeds_named(apart)}.") if apart else ""
        return [first, second]


def _without_training(bases: Sequence[_Base]) -> list[str]:
    """The accuracies without pretraining, where they were measured."""
    found = [controls(list(base.rows.values())) for base in bases]
    names = found[0] if found else {}
    shown = {name: [each[name].removesuffix("\u00a0%") for each in found] for name in names}
    return [
        _line([name, *(cell for value in values for cell in (escaped(value) or "--", ""))])
        for name, values in shown.items()
        if any(values)
    ]


def _accuracy(row: Row) -> str:
    return points(row.mean) if row.std is None else rf"{points(row.mean)} $\pm$ {points(row.std)}"


def _difference(difference: Difference, *, strong: bool) -> str:
    """`strong`: bold where it stands."""
    low, high = difference.adjusted_low, difference.adjusted_high
    value = f"{100 * difference.value:+.1f}"
    if not bounded(low, high):
        return f"${value}$"
    shown = rf"\mathbf{{{value}}}" if strong and difference.stands else value
    return rf"${shown}\ [{100 * low:+.1f},\ {100 * high:+.1f}]$"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
