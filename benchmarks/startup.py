"""What `jepa --help` costs beside an empty interpreter: `python benchmarks/startup.py [--runs 21]`.

The two are run by turns and their medians compared, so that a busy machine slows both. The project's bound is 40.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "jepa --help": ["-m", "jepa_core.cli", "--help"],
    "jepa plugins list": ["-m", "jepa_core.cli", "plugins", "list"],
    "import jepa_core": ["-c", "import jepa_core"],
}


def seconds(arguments: list[str]) -> float:
    """Wall-clock time of one fresh interpreter."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def measure(runs: int) -> dict[str, float]:
    """Median seconds by command, over interleaved runs; the first round warms the file cache and is dropped."""
    rounds = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(runs + 1)]
    return {name: statistics.median(each[name] for each in rounds[1:]) for name in COMMANDS}


def main() -> None:
    """Print one line per command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    medians = measure(parser.parse_args().runs)
    empty = medians["python -c pass"]
    for name, median in medians.items():
        print(f"{name:20} {1000 * median:7.1f} ms  {median / empty:5.1f} x")


if __name__ == "__main__":
    main()
