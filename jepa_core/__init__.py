"""A modality-agnostic JEPA: one core, and a plugin for every kind of signal. Importing it imports no torch."""

from __future__ import annotations

__version__ = "0.1.0"
