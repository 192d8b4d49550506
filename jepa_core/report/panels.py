"""The charts of a report: which key of metrics.jsonl, what it means, and where it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jepa_core.config import RunConfig
from jepa_core.config.tree import CollapseConfig
from jepa_core.report.charts import Curve, Threshold, line_chart
from jepa_core.report.gather import RunFacts


@dataclass(frozen=True)
class Limit:
    """The threshold of a collapse metric."""

    warning: str
    """The name that crossing it raises."""
    level: Callable[[CollapseConfig], float]
    bad: Literal["above", "below"]

    def of(self, config: RunConfig) -> Threshold:
        """The threshold that a run was configured with; nothing is judged before the end of its grace period."""
        return Threshold(self.level(config.collapse), self.bad, since=config.collapse.grace * config.train.steps)


@dataclass(frozen=True)
class Panel:
    """One small chart."""

    key: str
    """In metrics.jsonl."""
    title: str
    how_to_read: str
    """One sentence."""
    include: tuple[float, ...] = ()
    """Values that the axis must show."""
    limit: Limit | None = None


@dataclass(frozen=True)
class DrawnPanel:
    """A panel with the curves of all runs that have the key."""

    panel: Panel
    svg: str
    """"" where no run has a value."""
    last: list[tuple[int, str]]
    """Per run that has the key: its position and its last value."""
    crossed: bool
    """Whether the last value of any run is on the wrong side of its threshold."""


TRAINING = (
    Panel(
        "loss",
        "Loss",
        "Distance to the target encoder's tokens, a moving goal: it may rise in a healthy run and falls in a collapsed "
        "one.",
    ),
    Panel(
        "grad_norm_encoder",
        "Gradient, encoder",
        "Norm before clipping; spikes that the loss follows ask for a lower learning rate or for clipping.",
        (0.0,),
    ),
    Panel(
        "grad_norm_predictor",
        "Gradient, predictor",
        "As for the encoder; where the two lie orders of magnitude apart, one of them hardly learns.",
        (0.0,),
    ),
    Panel("lr", "Learning rate", "Of the encoder, as the configuration's formula gives it for the step.", (0.0,)),
    Panel("weight_decay", "Weight decay", "Of the weight matrices; biases and norms are not decayed.", (0.0,)),
    Panel(
        "momentum",
        "Target momentum",
        "Share of itself that the target encoder keeps in an update; at 1 it stands still.",
        (1.0,),
    ),
    Panel(
        "samples_per_second",
        "Samples per second",
        "Over all processes; a steady level is normal, a slow fall is not.",
        (0.0,),
    ),
    Panel(
        "data_wait_share",
        "Waiting for data",
        "Share of the time without work to do; above about 0.1 more loader processes help (train.workers).",
        (0.0, 0.1),
    ),
)
"""Loss, schedules and pace."""

COLLAPSE = (
    Panel(
        "collapse/target_std",
        "Target spread",
        "Standard deviation per channel of layer-normed target tokens: 1 is the most, near 0 they are all the same.",
        (0.0, 1.0),
        Limit("low_std", lambda config: config.min_std, "below"),
    ),
    Panel(
        "collapse/context_std",
        "Context spread",
        "The same of what the context encoder makes of the visible tokens; it leads and the target follows.",
        (0.0, 1.0),
    ),
    Panel(
        "collapse/target_rank",
        "Target rank",
        "How many dimensions target tokens use, as a share of the most possible; a long fall is the warning, more than "
        "the level.",
        (0.0,),
        Limit("low_rank", lambda config: config.min_rank, "below"),
    ),
    Panel(
        "collapse/context_rank",
        "Context rank",
        "The same of the context encoder's tokens; well below the target's it announces where the target will go.",
        (0.0,),
    ),
    Panel(
        "collapse/sample_cosine",
        "Cosine of samples",
        "Mean over pairs of different samples: at 1 the encoder says the same of everything.",
        (0.0, 1.0),
        Limit("same_for_all", lambda config: config.max_cosine, "above"),
    ),
    Panel(
        "collapse/relative_loss",
        "Loss relative to mean",
        "Loss divided by that of always answering with the mean target: below 1 the predictor knows more.",
        (0.0, 1.0),
        Limit("no_better_than_mean", lambda config: config.max_relative_loss, "above"),
    ),
    Panel(
        "collapse/own_gain",
        "Own-target gain",
        "How much nearer a prediction is to its own target than to another sample's at the same place; near 0 it knows "
        "the place alone.",
        (0.0,),
        Limit("positional", lambda config: config.min_own_gain, "below"),
    ),
    Panel(
        "collapse/ema_distance",
        "Distance to target",
        "Between the weights of the two encoders, relative to their size; near 0 the target runs along with the "
        "context encoder.",
        (0.0,),
    ),
)
"""What the collapse monitor measures."""


def draw(panels: Sequence[Panel], runs: Sequence[RunFacts]) -> list[DrawnPanel]:
    """Every panel with the curves of all runs, run i in colour i."""
    return [_draw(panel, runs) for panel in panels]


def _draw(panel: Panel, runs: Sequence[RunFacts]) -> DrawnPanel:
    found = [(number, *run.series(panel.key)) for number, run in enumerate(runs)]
    found = [(number, steps, values) for number, steps, values in found if steps]
    if not found:
        return DrawnPanel(panel, "", [], crossed=False)
    curves = [Curve(steps, values, number) for number, steps, values in found]
    last = [(number, _significant(values[-1])) for number, _, values in found]
    limits = [panel.limit.of(runs[number].config) for number, _, _ in found] if panel.limit else []
    judged = zip(limits, curves, strict=True) if limits else ()
    crossed = any(limit.is_crossed(curve.steps[-1], curve.values[-1]) for limit, curve in judged)
    svg = line_chart(f"{panel.title} by step", curves, list(dict.fromkeys(limits)), panel.include)
    return DrawnPanel(panel, svg, last, crossed)


def _significant(value: float) -> str:
    """Three digits: 0.0123, 1.23e-05, 1,230."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
