"""The two classes that every configuration in the workspace derives from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A strict, immutable piece of configuration: unknown keys and wrong types are errors.

    The string under a field is its description; it reaches `jepa config show` and the JSON schema.
    Sequences are tuples, paths are strings: a file holds nothing else.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class Section(Frozen):
    """A part of the configuration that a registered name owns; the name's plugin supplies the subclass."""

    name: str
    """The registered name; `jepa plugins list` prints what is installed."""
