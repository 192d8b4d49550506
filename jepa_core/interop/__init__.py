"""Weights of other programs, in and out: read a file, find who knows its layout, translate, load strictly.

A modality lists the layouts that belong to it (`Modality.formats`); the core itself owns one, `safetensors`: an encoder
in one file with its configuration. What the public JEPA programs have in common is in `official` and `hugging_face`.
"""

from jepa_core.interop.classifiers import SUFFIX, classifiers_in, import_classifier, read_classifier
from jepa_core.interop.files import Foreign, read_foreign, unwrapped
from jepa_core.interop.layouts import (
    PARTS,
    Converter,
    Exportable,
    Imported,
    format_named,
    formats,
    recognise,
)
from jepa_core.interop.runs import export_weights, import_weights, key_of

__all__ = [
    "PARTS",
    "SUFFIX",
    "Converter",
    "Exportable",
    "Foreign",
    "Imported",
    "classifiers_in",
    "export_weights",
    "format_named",
    "formats",
    "import_classifier",
    "import_weights",
    "key_of",
    "read_classifier",
    "read_foreign",
    "recognise",
    "unwrapped",
]
