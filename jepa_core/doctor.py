"""What works on this machine, and how to mend what does not.

Torch and what needs it are imported inside the checks: an installation that cannot import them is one of the findings.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from jepa_core.cores import cores
from jepa_core.errors import PluginError
from jepa_core.plugin import Modality, Plugin
from jepa_core.registry import REGISTRIES
from jepa_core.supply import damaged, place_of
from jepa_core.types import Finding

if TYPE_CHECKING:
    import torch

GIB = 2**30
OLDEST_PYTHON = (3, 11)
LITTLE_DISK, LITTLE_SHARED_MEMORY = 5 * GIB, GIB // 2
GLOO_SECONDS = 60.0

INSTALL_AGAIN = "Install again, all of one release: make install, or pip install -c constraints.txt -e ."


def examine(run_folder: Path) -> list[Finding]:
    """Every finding, in the order in which they are worth reading; takes some seconds and changes nothing.

    Args:
        run_folder: where runs will be written; it need not exist.
    """
    findings = [python(), *requirements(), torch_imports()]
    if findings[-1].state != "fail":
        findings += [*devices(), precision(), threads(), waiting(), processes()]
    return [*findings, shared_memory(), disk(run_folder), *trackers(), *plugins()]


def python() -> Finding:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("python", "ok", found)
    return Finding("python", "fail", found, f"Use Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.")


def requirements() -> Iterator[Finding]:
    """Whether packages get the versions that they ask for; the first line is a failure where one does not.

    Of torch, everybody's wishes count (its companions must be of its own release); of anything else, those of the core
    and of the packages that plug into it.
    """
    unmet: list[str] = []
    unreadable = damaged()
    for each in unreadable:
        yield Finding("packages", "fail", f"{each.place}: {each.reason}", each.remedy)
    for distribution in metadata.distributions():
        if place_of(distribution) in {each.place for each in unreadable}:
            continue
        ours = any(point.group.startswith("jepa.") for point in distribution.entry_points)
        for text in distribution.requires or ():
            wanted = Requirement(text)
            if (ours or wanted.name == "torch") and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
                unmet += _unmet(distribution.metadata["Name"], wanted)
    if unmet:
        yield Finding("packages", "fail", "; ".join(unmet), INSTALL_AGAIN)
    versions = (f"{name} {metadata.version(name)}" for name in ("jepa-core", "torch", "accelerate") if _installed(name))
    yield Finding("versions", "ok", ", ".join(versions))


def _installed(name: str) -> bool:
    return any(metadata.distributions(name=name))


def _unmet(asker: str, wanted: Requirement) -> list[str]:
    if not _installed(wanted.name):
        return [f"{asker} needs {wanted.name}, which is not installed"]
    found = metadata.version(wanted.name)
    if wanted.specifier.contains(found, prereleases=True):
        return []
    return [f"{asker} needs {wanted.name} {wanted.specifier}, and {found} is installed"]


def torch_imports() -> Finding:
    """Whether torch can be imported at all: a wheel for another platform fails here, in the loader."""
    try:
        version = importlib.import_module("torch").__version__
    except (ImportError, OSError) as error:
        return Finding("torch", "fail", f"cannot be imported: {error}", INSTALL_AGAIN)
    return Finding("torch", "ok", f"{version} can be imported")


def devices() -> Iterator[Finding]:
    """What there is to compute on."""
    import torch

    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        yield Finding(f"cuda:{number}", "ok", f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free")
    if torch.backends.mps.is_available():
        yield Finding("mps", "ok", "Apple's GPU")
    capability = torch.backends.cpu.get_cpu_capability()
    yield Finding("processor", "ok", f"{len(cores())} cores for this process, {capability}")


def main_device() -> torch.device:
    """The device that a run started now would use."""
    from accelerate import PartialState

    device = PartialState().device
    assert device is not None
    return device


def precision() -> Finding:
    """What `train.precision: auto` will mean."""
    from jepa_core.optim import resolve_precision

    device = main_device()
    if resolve_precision("auto", device) == "bf16":
        return Finding("precision", "ok", f"auto is bf16 on {device}")
    return Finding("precision", "ok", f"auto is fp32 on {device}: it does not compute with bf16 in hardware")


def threads() -> Finding:
    """Whether torch starts more threads than there are cores for them."""
    import torch

    count = torch.get_num_threads()
    detail = f"{count} for torch, {len(cores())} cores"
    if count > len(cores()):
        return Finding("threads", "warn", detail, f"export OMP_NUM_THREADS={len(cores())}")
    return Finding("threads", "ok", detail)


def waiting() -> Finding:
    """Whether idle OpenMP threads spin, which slows a busy machine 10 to 50 times over (docs/log.md)."""
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    detail = f"OMP_WAIT_POLICY is {policy or 'not set'}, load {load:.1f} on {len(cores())} cores"
    if main_device().type == "cpu" and policy.upper() != "PASSIVE" and load > len(cores()) / 2:
        return Finding("waiting", "warn", f"{detail}: others are computing too", "export OMP_WAIT_POLICY=PASSIVE")
    return Finding("waiting", "ok", detail)


def shared_memory() -> Finding:
    """Room for the batches that loader processes hand over."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("shared memory", "ok", "not a file system here")
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free"
    if free < LITTLE_SHARED_MEMORY:
        remedy = "Give the container more (docker run --shm-size=2g), or train with --set train.workers=0"
        return Finding("shared memory", "warn", detail, remedy)
    return Finding("shared memory", "ok", detail)


def disk(run_folder: Path) -> Finding:
    """Room for checkpoints, and the right to write them."""
    existing = next(folder for folder in (run_folder.absolute(), *run_folder.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIB:.1f} GiB free for {run_folder}"
    if not os.access(existing, os.W_OK):
        return Finding("run folder", "fail", f"{existing} is not writable", "Choose another: jepa train --run-dir DIR")
    if free < LITTLE_DISK:
        return Finding(
            "run folder", "warn", detail, "Choose another: --run-dir DIR; or keep fewer: checkpoint.keep_last"
        )
    return Finding("run folder", "ok", detail)


def trackers() -> Iterator[Finding]:
    """Experiment trackers: none is needed."""
    for name in ("tensorboard", "wandb"):
        found = "installed" if find_spec(name) else f"not installed (optional: pip install {name})"
        yield Finding(name, "ok", found)


def processes() -> Finding:
    """Whether two processes of this machine can reduce a tensor together, as `accelerate launch --cpu` does."""
    if not importlib.import_module("torch.distributed").is_available():
        return Finding("two processes", "warn", "this torch is built without torch.distributed", INSTALL_AGAIN)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder, "meeting").as_uri()
        pair = [context.Process(target=all_reduce, args=(rank, meeting), daemon=True) for rank in range(2)]
        for process in pair:
            process.start()
        for process in pair:
            process.join(GLOO_SECONDS)
            process.kill()
    if all(process.exitcode == 0 for process in pair):
        return Finding("two processes", "ok", "gloo sums a tensor over two processes")
    codes = [process.exitcode for process in pair]
    detail = f"gloo could not sum a tensor over two processes within {GLOO_SECONDS:.0f} s (exit codes {codes})"
    return Finding("two processes", "warn", detail, "export GLOO_SOCKET_IFNAME=lo; one process works without it")


def all_reduce(rank: int, meeting: str) -> None:
    """One of two processes; fails where the sum is wrong or the other is not met."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", meeting, timedelta(seconds=GLOO_SECONDS / 2), world_size=2, rank=rank)
    total = torch.tensor(rank + 1)
    dist.all_reduce(total)
    dist.destroy_process_group()
    sys.exit(int(total.item() != 1 + 2))


def plugins() -> Iterator[Finding]:
    """The registered names of every kind, each imported, and what healthy modalities say of their own needs.

    A broken plugin harms nobody else and is a warning; without any modality nothing can be trained.
    """
    for kind, registry in REGISTRIES.items():
        usable = list[Modality | Plugin]()
        for name in registry.names():
            try:
                usable.append(registry.get(name))
            except PluginError as error:
                yield Finding(f"{kind} {name}", "warn", str(error), "jepa plugins list")
        if usable:
            yield Finding(kind, "ok", ", ".join(plugin.name for plugin in usable))
        elif kind == "modality":
            remedy = "Install one, for example: pip install -e plugins/NAME (in a checkout)"
            yield Finding(kind, "fail", "none is usable, so nothing can be trained", remedy)
        for plugin in usable:
            if isinstance(plugin, Modality):
                yield from plugin.doctor()
