"""A doorway: `python registry.py` prints what is registered, as `jepa plugins list` does; see jepa_core/registry.py."""

from __future__ import annotations

from jepa_core.cli import main

if __name__ == "__main__":
    main(["plugins", "list"])
