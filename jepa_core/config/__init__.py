"""The configuration: base classes, the tree of a run, reading and showing it."""

from jepa_core.config.base import Frozen, Section
from jepa_core.config.tree import RunConfig, Schedule

__all__ = ["Frozen", "RunConfig", "Schedule", "Section"]
