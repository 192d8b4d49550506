"""The labelled splits of a study, looked at before anything runs: a mistake found at the end has cost all compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jepa_core.ablation.cells import Study
from jepa_core.config import RunConfig
from jepa_core.config.problems import did_you_mean
from jepa_core.errors import ConfigError, DataError, JepaError
from jepa_core.evaluation import SPLITS
from jepa_core.plugin import Source
from jepa_core.probes.labels import common_headings, fingerprint
from jepa_core.registry import modalities


def require_labels(study: Study) -> None:
    """Look at the data of every base that is at hand here.

    Raises:
        ConfigError: `evaluation` names headings that there are not; a base has no labels; an arm changes which samples
            the labelled splits hold.
    """
    headings, problems = dict[str, Sequence[str]](), list[str]()
    for base in study.config.bases:
        configs = _configs(study, base)
        reference = study.reference if study.reference in configs else next(iter(configs))
        sources = _sources(configs[reference])
        if sources is None:
            continue
        try:
            headings[base] = common_headings(*sources)
        except DataError as error:
            problems.append(f"bases.{base}: {error}")
        problems += _other_samples(base, configs, reference, sources)
    problems += _unknown_headings(study, headings)
    if problems:
        raise ConfigError(problems, study.name)


def require_headings(study: Study, headings: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError where `evaluation` names others than these: `headings` by base, as far as they are known."""
    if problems := list(_unknown_headings(study, headings)):
        raise ConfigError(problems, study.name)


def _configs(study: Study, base: str) -> dict[str, RunConfig]:
    """By arm; seeds do not differ in data."""
    return {cell.arm: cell.config for cell in study.cells if cell.base == base}


def _sources(config: RunConfig) -> tuple[Source, Source] | None:
    """The splits of the probes; None where they are not at hand, which the first cell will say more exactly."""
    modality = modalities.get(config.modality.name)
    try:
        train, test = (modality.source(config.modality, split) for split in SPLITS)
    except JepaError:
        return None
    return train, test


def _other_samples(
    base: str, configs: Mapping[str, RunConfig], reference: str, sources: tuple[Source, Source]
) -> Iterator[str]:
    """Arms whose labelled splits hold other samples than the reference's."""
    own, known = configs[reference].modality, list[str]()
    for arm, config in configs.items():
        if config.modality == own or (others := _sources(config)) is None:
            continue
        known = known or [fingerprint(source) for source in sources]
        found = zip(SPLITS, known, map(fingerprint, others), strict=True)
        differing = [split for split, hashed, other in found if other != hashed]
        if differing:
            yield (
                f"arm {arm} on {base}: modality: changes which samples {' and '.join(differing)} hold, and arms of a "
                "base are compared sample by sample. Make it another base."
            )


def _unknown_headings(study: Study, headings: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What `evaluation` asks for and the data does not have."""
    asked, listed = study.config.evaluation, {base: ", ".join(own) for base, own in headings.items()}
    if len(headings) == len(study.config.bases):
        every = list(dict.fromkeys(name for own in headings.values() for name in own))
        for name in asked.headings:
            if name not in every:
                hint = did_you_mean(name, every)
                yield f"evaluation.headings: no base has labels '{name}'.{hint} There are: {', '.join(every)}."
    for base, own in headings.items():
        if asked.headings and not set(asked.headings) & set(own):
            yield f"evaluation.headings: nothing would be measured on {base}. It has labels: {listed[base]}."
        heading = asked.primary.get(base, "").rpartition("/")[0]
        if heading and heading not in own:
            yield (
                f"evaluation.primary.{base}: there are no labels '{heading}'.{did_you_mean(heading, own)} "
                f"There are: {listed[base]}."
            )
