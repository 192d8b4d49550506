"""The splits that a modality's section names: where each comes from, and the ids of its classes."""

from __future__ import annotations

from typing import get_args

from jepa_core.config.files import FileSection
from jepa_core.errors import ConfigError
from jepa_core.plugin import Source, Split
from jepa_core.sources.files import Read, open_path, vocabulary_of
from jepa_core.sources.kinds import FileKind
from jepa_core.sources.manifests import SUFFIXES
from jepa_core.sources.memory import remembered
from jepa_core.sources.mixtures import MixtureSource


def split_source(config: FileSection, split: Split, kind: FileKind, read: Read) -> Source:
    """The files of a split; what `builtin` names is the modality's own business.

    Pretraining reads `pretrain`, a path or a mixture, or else `train`; probes are fitted on `train` and scored on
    `test`, whose classes get the ids that they have in the training data. `keep_gib` of decoded files stay in memory.

    Raises:
        ConfigError: where the path of the split is not set.
        UsageError: for a path that does not exist.
        DataError: see `open_path`.
    """
    read = remembered(read, config.keep_gib)
    if split == "probe_test":
        vocabulary = vocabulary_of(_path(config, "train", kind), kind, config.labels)
        return open_path(_path(config, "test", kind), kind, read, config.labels, vocabulary)
    given = config.pretrain if split == "pretrain" else None
    if given is None or isinstance(given, str):
        return open_path(given or _path(config, "train", kind), kind, read, config.labels)
    sources = [open_path(part.path, kind, read, vocabulary={}) for part in given]
    return MixtureSource(sources, [part.weight for part in given])


def _path(config: FileSection, key: str, kind: FileKind) -> str:
    """The configured path; raises ConfigError where there is none."""
    path: str | None = getattr(config, key)
    if path is None:
        names = _builtin_names(type(config))
        builtin = f" (or --set modality.builtin={names[0]} for the built-in data)" if names else ""
        raise ConfigError(
            f"modality.{key}: not set. It is a folder of {kind.plural} or a {' or '.join(SUFFIXES)} manifest: "
            f"--set modality.{key}=PATH{builtin}"
        )
    return path


def _builtin_names(section: type[FileSection]) -> list[str]:
    """What `builtin: Literal["name", ...] | None` allows."""
    alternatives = get_args(section.model_fields["builtin"].annotation)
    return [name for alternative in alternatives for name in get_args(alternative)]
