"""Fixtures that every test of the core may use."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from toy import Toy, toy_registered


@pytest.fixture
def toy() -> Generator[Toy]:
    """The toy modality, registered for one test."""
    with toy_registered() as modality:
        yield modality
