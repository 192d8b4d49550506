"""`jepa config`: the full commented configuration, every error of a file at once, the JSON schema."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jepa_core.cli.common import Overrides, print_json
from jepa_core.errors import BAD_USAGE, JepaError, PluginError, UsageError

if TYPE_CHECKING:
    from jepa_core.config import RunConfig, Section

logger = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name="config", help="Show, check and describe configurations.")

    @group.command()
    def show(
        what: Annotated[str, typer.Argument(metavar="MODALITY|CONFIG", show_default=False)],
        overrides: Overrides = None,
    ) -> None:
        """Print a full configuration, every field with a comment: a modality's defaults, or what a file amounts to."""
        from jepa_core.config.show import commented_yaml
        from jepa_core.recipes import read_config
        from jepa_core.registry import section_class

        if Path(what).suffix in {".yaml", ".yml"} or Path(what).exists():
            config = read_config(what, overrides or ())
        else:
            config = _defaults(what, overrides or [])
        typer.echo(commented_yaml(config, section_class), nl=False)

    @group.command()
    def validate(
        configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", show_default=False)],
        overrides: Overrides = None,
    ) -> None:
        """Check files, studies too, and that the parts they name fit together; exit code 2 where one does not."""
        failed = False
        for path in configs:
            try:
                _check(path, overrides or [])
            except JepaError as error:
                failed = True
                where = "" if str(error).startswith(str(path)) else f"{path}: "
                typer.echo(f"error: {where}{error}", err=True)
            else:
                typer.echo(f"{path}: ok")
        if failed:
            raise typer.Exit(BAD_USAGE)

    @group.command()
    def schema(
        modality: Annotated[str | None, typer.Option(help="Only this modality's section.")] = None,
        masking: Annotated[str | None, typer.Option(help="Only this masking strategy's section.")] = None,
        study: Annotated[bool, typer.Option("--study", help="That of a study file, for `jepa ablate`.")] = False,
    ) -> None:
        """Print the JSON schema of a configuration file, with the sections of every installed plugin."""
        from jepa_core.ablation.study import StudyConfig
        from jepa_core.config.schema import file_schema
        from jepa_core.registry import REGISTRIES

        if study:
            print_json(StudyConfig.model_json_schema())
            return
        chosen = {"modality": modality, "masking": masking}
        sections = {kind: _sections(kind, chosen.get(kind)) for kind in REGISTRIES}
        print_json(file_schema(sections))


def _check(path: Path, overrides: list[str]) -> None:
    """Raise JepaError where a run or a study cannot work."""
    from jepa_core.ablation.cells import read_study
    from jepa_core.ablation.study import is_study
    from jepa_core.model import Parts
    from jepa_core.recipes import read_config

    if is_study(path):
        read_study(path, overrides)
    else:
        Parts.of(read_config(path, overrides))


def _defaults(name: str, overrides: list[str]) -> RunConfig:
    """A modality's defaults; what it requires and only the user knows gets a stand-in."""
    from jepa_core.config.schema import Place
    from jepa_core.config.show import example
    from jepa_core.config.text import dump
    from jepa_core.recipes import read_config
    from jepa_core.registry import modalities, section_class

    if name not in modalities.names():
        installed = ", ".join(modalities.names()) or "none"
        raise UsageError(
            f"{name}: neither a file nor an installed modality. Installed: {installed}. See: jepa plugins list"
        )
    required = example(Place.of(section_class("modality", name), section_class, {}))
    return read_config(text=dump({"modality": {**required, "name": name}}), overrides=overrides)


def _sections(kind: str, name: str | None) -> list[type[Section]]:
    """The classes of all healthy plugins of a kind, or of the one that was asked for."""
    from jepa_core.registry import REGISTRIES, section_class

    if name is not None:
        return [section_class(kind, name)]
    found: list[type[Section]] = []
    for each in REGISTRIES[kind].names():
        try:
            found.append(section_class(kind, each))
        except PluginError as error:
            logger.warning("left out: %s", error)
    return found
