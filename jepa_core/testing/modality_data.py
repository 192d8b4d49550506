"""Checks of a modality's data: its sources and its preprocessing."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa_core import statistics
from jepa_core.config import Section
from jepa_core.config.base import merge
from jepa_core.config.text import dump, parse
from jepa_core.data import SignalDataset
from jepa_core.errors import JepaError
from jepa_core.plugin import Labels
from jepa_core.testing.attempts import generators_moved_by
from jepa_core.testing.checks import CheckFailed, NotApplicable, require
from jepa_core.testing.elsewhere import SPLITS
from jepa_core.testing.fresh import Failure
from jepa_core.testing.modality_case import SEED, ModalityCase, misfit
from jepa_core.types import SampleKey
from jepa_core.unreadable import Unreadable

DAMAGED = {"empty": b"", "zeros": bytes(4096), "text": b"This is no such file.\n" * 40}
"""What takes the place of a file's content: an interrupted copy, a disk's hole, an error page."""
NAMED = 1000
"""Samples whose names are compared."""
MEASURED = 250
"""Samples that statistics are measured on."""
NEAR = 0.02
"""Largest distance of a measured mean from 0, and of a deviation from 1."""


def check_built_in_data_needs_no_download(case: ModalityCase) -> None:
    """The smallest built-in run opens all of its splits without a network and with empty caches.

    To mend: ship a few samples with the package, or draw them from the index, and name them in the configuration that
    `demo` or `sample` returns. `jepa demo` and every test of a stranger's machine depend on it.
    """
    if case.text is not None:
        raise NotApplicable("a configuration was given, so its own data is used")
    sizes, _ = case.visit
    if isinstance(sizes, Failure):
        raise CheckFailed(f"expected samples in every split, found {sizes.message}")
    empty = [split for split in SPLITS if not sizes[split]]
    require(not empty, f"expected samples in every split, found none in {', '.join(empty)}")


def check_samples_follow_their_seed(case: ModalityCase) -> None:
    """A training signal is a function of (seed, epoch, index), and of nothing that was read before.

    To mend: draw every random number from the generator that the transform is given, sort what a folder's listing
    gives, and keep no counters or caches that change what is returned.
    """
    first, second = case.dataset(), case.dataset()
    forward = [first[key][1] for key in case.keys]
    again = [first[key][1] for key in case.keys]
    backward = [second[key][1] for key in reversed(case.keys)][::-1]
    for key, *three in zip(case.keys, forward, again, backward, strict=True):
        signals = [each for each in three if isinstance(each, Tensor)]
        same = len(signals) == 3 and all(torch.equal(signals[0], each) for each in signals[1:])
        require(same, f"expected one signal for (seed {SEED}, epoch {key.epoch}, index {key.index}), found several")


def check_loader_processes_read_the_same_samples(case: ModalityCase) -> None:
    """Source and transform, pickled after some reading, give the same signals in a spawned process.

    To mend: define their classes at the top level of a module; keep paths and numbers in them instead of open files,
    locks, lambdas or decoders, and open files in `read`.
    """
    dataset = case.dataset()
    here, again = ([dataset[key][1] for key in case.keys] for _ in range(2))
    if not all(map(_equal, here, again)):
        raise NotApplicable("its samples differ in one process already: see samples_follow_their_seed")
    _, there = case.visit
    if isinstance(there, Failure):
        raise CheckFailed(f"expected {len(here)} signals from another process, found {there.message}")
    for key, mine, other in zip(case.keys, here, there, strict=True):
        same = isinstance(mine, Tensor) and isinstance(other, np.ndarray) and np.array_equal(mine.numpy(), other)
        require(same, f"sample {key.index} of epoch {key.epoch}: expected the same in another process, found another")


def _equal(one: Tensor | Unreadable, other: Tensor | Unreadable) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return isinstance(one, Unreadable) and one == other


def check_global_random_numbers_are_left_alone(case: ModalityCase) -> None:
    """Reading and preprocessing samples neither seeds nor uses the random numbers of NumPy or torch.

    To mend: replace torch.rand(...) by torch.rand(..., generator=generator), and seed nothing; where a library insists
    on its global generator, draw its parameters yourself.
    """
    dataset = case.dataset()
    moved = " and ".join(generators_moved_by(lambda: [dataset[key] for key in case.keys]))
    require(not moved, f"expected the global random numbers as they were, found that those of {moved} moved")


def check_training_signals_have_the_stated_shape(case: ModalityCase) -> None:
    """The transform of training gives one finite float32 signal of `signal_shape`, also where evaluation takes views.

    To mend: convert with .float(), crop or pad to the shape that the section asks for, and raise UnreadableSample for
    a sample that cannot be brought to it.
    """
    dataset = case.dataset()
    for key in case.keys:
        problem = misfit(dataset[key][1], case.shape)
        require(not problem, f"sample {key.index}: {problem}")


def check_evaluation_signals_have_the_stated_shape(case: ModalityCase) -> None:
    """The transform of evaluation gives a signal of `signal_shape`, or (views, *signal_shape) where there are several.

    To mend: stack exactly `views(config)` views where that is more than 1, and return the signal itself where it is 1.
    """
    for number, signal in enumerate(case.evaluated):
        problem = misfit(signal, case.evaluation_shape)
        require(not problem, f"sample {number}, {case.plugin.views(case.section)} view(s): {problem}")


def check_evaluation_is_deterministic(case: ModalityCase) -> None:
    """The transform of evaluation gives the same signal whatever the generator.

    To mend: build a transform without random crops, flips or noise where `train` is false.
    """
    transform = case.plugin.transform(case.config.modality, train=False)
    for number, (raw, signal) in enumerate(zip(case.raw(), case.evaluated, strict=True)):
        again = transform(raw, torch.Generator().manual_seed(SEED + 1))
        gap = (again - signal).abs().max().item()
        require(gap == 0, f"sample {number}: expected one signal, found differences up to {gap:.3g} by the generator")


def check_labels_fit_the_samples(case: ModalityCase) -> None:
    """Labels, which a run with probes needs, have one id per sample, and the same headings and names in both splits.

    To mend: make `Labels(ids, names)` with int64 ids from 0 to len(names) - 1 (-1 for none), for all samples of the
    source, and take the names from the training split in both. For data without labels: `probes: []` in its run.
    """
    sources = {split: case.source(split) for split in SPLITS[1:]}
    names = [{heading: each.names for heading, each in source.labels.items()} for source in sources.values()]
    if not any(names):
        if not case.config.probes:
            raise NotApplicable("its data has no labels, and its run no probes")
        probes = ", ".join(each.name for each in case.config.probes)
        raise CheckFailed(f"expected labels for the probes of the run ({probes}), found none: jepa eval would stop")
    require(names[0] == names[1], f"expected the same classes in both probe splits, found {names[0]} and {names[1]}")
    for split, source in sources.items():
        for heading, labels in source.labels.items():
            _require_ids(labels, len(source), f"{split}, {heading}")


def _require_ids(labels: Labels, samples: int, where: str) -> None:
    ids, most = labels.ids, len(labels.names) - 1
    require(ids.dtype == np.int64, f"{where}: expected ids of type int64, found {ids.dtype}")
    require(ids.shape == (samples,), f"{where}: expected {samples} ids, found shape {ids.shape}")
    low, high = int(ids.min()), int(ids.max())
    require(low >= -1 and high <= most, f"{where}: expected ids from -1 to {most}, found {low} to {high}")


def check_every_sample_has_a_name_of_its_own(case: ModalityCase) -> None:
    """`where` tells the samples of a probe split apart, so that a message or a list of features says which is meant.

    To mend: return the path, or the number in the file that the sample comes from.
    """
    source = case.source("probe_test")
    names = [source.where(index) for index in range(min(len(source), NAMED))]
    ((name, times),) = Counter(names).most_common(1)
    require(times == 1, f"expected {len(names)} different names, found {len(set(names))}: {name!r} {times} times")


def check_damaged_files_are_unreadable_samples(case: ModalityCase) -> None:
    """A file that cannot be decoded raises UnreadableSample, so that it is counted, named and skipped.

    To mend: catch what the decoder raises, in `read` or in the transform, and `raise UnreadableSample(path, reason)`;
    check what it returns, for some decoders make an empty or a grey sample of a damaged file.
    """
    if not case.plugin.suffixes():
        raise NotApplicable("it does not say which files it reads (Modality.suffixes)")
    for suffix in case.plugin.suffixes():
        for what, content in DAMAGED.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"damaged{suffix}")
                path.write_bytes(content)
                _require_unreadable(case, path, what)


def _require_unreadable(case: ModalityCase, path: Path, what: str) -> None:
    source = case.plugin.open(case.section, str(path.parent))
    require(len(source) > 0, f"expected {path.name} to be found in its folder, found no sample")
    for train in (True, False):
        _, sample = SignalDataset(source, case.plugin.transform(case.section, train), SEED)[SampleKey(0, 0)]
        where = f"{path.name} ({what})"
        if not isinstance(sample, Unreadable):
            raise CheckFailed(f"expected {where} to be unreadable, found a signal of shape {tuple(sample.shape)}")
        require(path.name in sample.where, f"expected the error of {where} to name it, found {sample.where!r}")


def check_paths_without_samples_are_user_errors(case: ModalityCase) -> None:
    """A path that does not exist, and a folder without samples, are errors that a user understands.

    To mend: raise UsageError or DataError in `open`, with the path and what is expected there, or let
    `jepa_core.sources.open_path` do so.
    """
    with tempfile.TemporaryDirectory() as folder:
        for path, what in ((str(Path(folder, "absent")), "a path that does not exist"), (folder, "an empty folder")):
            try:
                found = f"{len(case.plugin.open(case.section, path))} samples"
            except JepaError as error:
                require(path in str(error), f"expected the error for {what} to name it, found {str(error)!r}")
                continue
            except OSError as error:
                found = f"{type(error).__name__}: {error}"
            raise CheckFailed(f"expected UsageError or DataError for {what}, found {found}")


def check_statistics_normalise(case: ModalityCase) -> None:
    """With the mean and deviation that `jepa stats` measures, signals have mean 0 and deviation 1.

    To mend: compute (signal - mean) / std, per channel where `unnormalised` holds sequences, as the last step of both
    transforms; let `unnormalised` hold every value under which signals stay as they are.
    """
    neutral = case.plugin.unnormalised
    if not neutral:
        raise NotApplicable("it does not normalise by mean and std (Modality.unnormalised)")
    measured = _measured(case, _changed(case.config.modality, neutral))
    if not _gaps(measured):
        raise NotApplicable("without mean and std its signals have mean 0 and deviation 1 already")
    values = {"mean": measured.mean, "std": measured.std}
    if not isinstance(neutral["mean"], Sequence):
        values = {key: value[0] for key, value in values.items()}
    gaps = _gaps(_measured(case, _changed(case.config.modality, {**neutral, **values})))
    require(not gaps, f"expected mean 0 and deviation 1 with the measured mean and std, found {gaps}")


def _gaps(measured: statistics.Statistics) -> str:
    """The means that are not near 0 and the deviations that are not near 1."""
    told = [f"mean {value:.3g}" for value in measured.mean if abs(value) > NEAR]
    return ", ".join(told + [f"deviation {value:.3g}" for value in measured.std if abs(value - 1) > NEAR])


def _changed(section: Section, changes: Any) -> Section:
    return type(section).model_validate(merge(parse(dump(section.model_dump(mode="json"))), parse(dump(dict(changes)))))


def _measured(case: ModalityCase, section: Section) -> statistics.Statistics:
    config = case.config.model_copy(update={"modality": section})
    per_channel = isinstance(case.plugin.unnormalised["mean"], Sequence)
    source = case.plugin.source(section, "pretrain")
    return statistics.measure(config, source, per_channel, MEASURED, lambda _: None)
