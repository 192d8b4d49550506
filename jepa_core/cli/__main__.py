"""`python -m jepa_core.cli` is `jepa`, for launchers that want a module."""

from __future__ import annotations

from jepa_core.cli import main

if __name__ == "__main__":
    main()
