"""Samples that are files: found in folders or named in manifests, with their labels, splits and mixtures."""

from jepa_core.sources.files import HEADING, FileSource, Vocabulary, open_path, vocabulary_of
from jepa_core.sources.kinds import FileKind
from jepa_core.sources.manifests import Manifest, read_manifest
from jepa_core.sources.memory import Keepable, remembered
from jepa_core.sources.mixtures import MixtureSource
from jepa_core.sources.paths import PathTable, class_folders, find_samples
from jepa_core.sources.splits import split_source

__all__ = [
    "HEADING",
    "FileKind",
    "FileSource",
    "Keepable",
    "Manifest",
    "MixtureSource",
    "PathTable",
    "Vocabulary",
    "class_folders",
    "find_samples",
    "open_path",
    "read_manifest",
    "remembered",
    "split_source",
    "vocabulary_of",
]
