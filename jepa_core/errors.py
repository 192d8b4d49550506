"""Everything that a user can cause, as one tree.

    JepaError
    |- ConfigError               a file, an override or a combination that cannot work; exit code 2
    |- PluginError               exit code 2
    |  |- PluginNotFound         nobody supplies the name
    |  |- PluginConflict         more than one distribution supplies it
    |  |- PluginLoadError        its import failed (the cause is chained)
    |  `- PluginIncompatible     written for another API_VERSION, or for another kind of grid
    |- MissingDependency         an optional package is needed; exit code 2
    |- UsageError                a path or an argument of a command; exit code 2
    |- DataError                 too many unreadable samples, an empty source; exit code 1
    |  `- UnreadableSample       one sample; counted and skipped by the trainer
    |- CheckpointError           absent, damaged, from another model, or not writable; exit code 1
    |- NonFiniteLoss             raised before any weight moves; exit code 1
    `- CollapseStop              the collapse monitor ended the run, as the configuration asks; exit code 1

A message says what, where, what is allowed and what to do next. `assert` is for our own bugs.
"""

from __future__ import annotations

from collections.abc import Sequence

FAILED_RUN, BAD_USAGE = 1, 2


class JepaError(Exception):
    """The root: the command line prints its message without a traceback (`--debug` shows one)."""

    exit_code = FAILED_RUN


class ConfigError(JepaError):
    """A configuration that cannot work; lists every problem that was found."""

    exit_code = BAD_USAGE

    def __init__(self, problems: Sequence[str] | str, where: str = "") -> None:
        """`problems` are full sentences that begin with a dotted path; `where` is the file or the command."""
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.where = where
        head = f"{where}: " if where else ""
        lines = self.problems if len(self.problems) == 1 else ["", *(f"  {line}" for line in self.problems)]
        count = "" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(head + count + "\n".join(lines))


class PluginError(JepaError):
    """Something is wrong with a registered name."""

    exit_code = BAD_USAGE


class PluginNotFound(PluginError):
    """No installed package supplies the name."""


class PluginConflict(PluginError):
    """Several distributions claim one name; none is ever picked."""


class PluginLoadError(PluginError):
    """The plugin's import failed; the original error is chained."""


class PluginIncompatible(PluginError):
    """The plugin speaks another API version, or cannot serve the grid."""


class MissingDependency(JepaError):
    """An optional package is needed; the message holds the command that installs it."""

    exit_code = BAD_USAGE


class UsageError(JepaError):
    """An argument of a command is wrong: a path that does not exist, a folder that is no run."""

    exit_code = BAD_USAGE


class DataError(JepaError):
    """The data as a whole cannot be used."""


class UnreadableSample(DataError):
    """One sample cannot be read."""

    def __init__(self, where: str, reason: str) -> None:
        """`where` is a path or an identifier; `reason` is what the reader said."""
        self.where, self.reason = where, reason
        super().__init__(f"{where}: {reason}")

    def __reduce__(self) -> tuple[type[UnreadableSample], tuple[str, str]]:
        """Travels from a worker with both parts."""
        return type(self), (self.where, self.reason)


class CheckpointError(JepaError):
    """A checkpoint is absent, damaged, from another model, or could not be written."""


class NonFiniteLoss(JepaError):
    """The loss of a step is not finite; no weight was moved."""


class CollapseStop(JepaError):
    """The collapse monitor raised a warning and the configuration says to stop (`collapse.stop`)."""
