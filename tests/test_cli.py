"""The frame of the command line: help, errors, exit codes; and the commands of `plugins` and `config`."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import typer
from toy import Toy, toy_config
from typer.testing import CliRunner

import jepa_core
from jepa_core.cli import Commands, app, common, root
from jepa_core.cli.common import Progress, configure_logging, table
from jepa_core.config import Section
from jepa_core.errors import CheckpointError, ConfigError, JepaError, NonFiniteLoss, PluginNotFound, UsageError
from jepa_core.recipes import read_config
from jepa_core.registry import maskings, modalities

pytestmark = pytest.mark.usefixtures("logging_as_before")


def jepa(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), prog_name="jepa")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def fresh(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jepa_core.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# The frame


def test_help_lists_the_commands_and_imports_nothing_that_it_does_not_need() -> None:
    code = """
import sys
from jepa_core.cli import main
try:
    main(["--help"])
except SystemExit as ended:
    assert not ended.code
heavy = {"torch", "numpy", "pydantic", "rich", "yaml", "matplotlib", "jinja2", "accelerate"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("config", "doctor", "plugins", "--debug", "--version"):
        assert command in done.stdout


def test_every_command_explains_itself() -> None:
    for command in (
        [],
        ["config"],
        ["config", "show"],
        ["config", "validate"],
        ["config", "schema"],
        ["plugins", "list"],
    ):
        code, out, _ = jepa(*command, "--help")
        assert code == 0
        assert out.startswith("Usage: jepa")
        assert jepa(*command, "-h")[1] == out


def test_the_version_is_printed() -> None:
    assert jepa("--version") == (0, f"jepa-core {jepa_core.__version__}\n", "")


def test_bad_usage_ends_with_code_2_and_a_suggestion() -> None:
    code, _, error = jepa("plugin")
    assert code == 2
    assert "Did you mean 'plugins'" in error
    code, _, error = jepa("config", "shwo", "toy")
    assert code == 2
    assert "Did you mean 'show'" in error
    code, _, error = jepa("config", "show", "toy", "--st", "a=b")
    assert code == 2
    assert "--set" in error


def a_command_that_raises(error: BaseException) -> typer.Typer:
    made = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    made.callback()(root)

    @made.command()
    def fail() -> None:
        raise error

    return made


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("seed: is odd"), 2),
        (UsageError("no such run"), 2),
        (PluginNotFound("nobody has it"), 2),
        (CheckpointError("damaged"), 1),
        (NonFiniteLoss("step 3"), 1),
    ],
)
def test_an_error_of_the_users_world_is_one_message_and_an_exit_code(error: JepaError, code: int) -> None:
    made = a_command_that_raises(error)
    result = CliRunner().invoke(made, ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"error: {error}\n")


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(arguments: list[str]) -> None:
    result = CliRunner().invoke(a_command_that_raises(UsageError("no such run")), arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("error: no such run\n")
    assert "in fail\n" in result.stderr


def test_debug_after_a_double_dash_is_an_argument_like_any_other() -> None:
    code, _, error = jepa("config", "show", "--", "--debug")
    assert code == 2
    assert error.startswith("error: --debug: neither a file nor an installed modality.")


def test_a_bug_of_ours_is_not_dressed_up() -> None:
    result = CliRunner().invoke(a_command_that_raises(ZeroDivisionError("ours")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_an_interrupt_ends_with_code_130_and_a_word() -> None:
    result = CliRunner().invoke(a_command_that_raises(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_ctrl_c_in_a_real_process_leaves_no_traceback() -> None:
    code = """
import os, signal, time
from jepa_core.cli import app, main
@app.command()
def wait():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
main(["wait"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert signal.SIGINT == 2


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    code = "from jepa_core.cli import main; main(['config', 'schema'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert error == ""


def test_the_module_is_the_command() -> None:
    assert fresh("--version").stdout == f"jepa-core {jepa_core.__version__}\n"


# What the commands share


def test_logging_says_the_level_only_of_warnings_and_puts_them_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(debug=False)
    ours = logging.getLogger("jepa_core.something")
    ours.info("trained")
    ours.debug("unseen")
    logging.getLogger("stranger").info("unseen")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("outdated", FutureWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "trained\nwarning: outdated\n")
    configure_logging(debug=True)
    ours.debug("seen")
    assert capsys.readouterr().err == "seen\n"


def test_only_the_main_process_informs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    configure_logging(debug=False)
    logging.getLogger("jepa_core").warning("unseen")
    logging.getLogger("jepa_core").error("seen")
    assert capsys.readouterr().err == "error: seen\n"


def test_a_table_has_aligned_columns_and_no_trailing_blanks() -> None:
    assert table([("a", "long"), ("wide", "b")]) == "a     long\nwide  b"


def test_progress_without_a_terminal_logs_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging(debug=False)
    clock = iter([100.0, 110.0, 131.0, 132.0, 140.0])
    monkeypatch.setattr(common.time, "monotonic", lambda: next(clock))
    with Progress("pretraining", total=50, unit="steps", done=10) as progress:
        progress.update(20)  # after 10 s: not yet
        progress.update(41, "loss 0.42")  # after 31 s
        progress.update(42)
        progress.update(50)  # the last is always said
    assert capsys.readouterr().err.splitlines() == [
        "pretraining: 41/50 steps, 1 steps/s, 00:00:09 left, loss 0.42",
        "pretraining: 50/50 steps, 1 steps/s, 00:00:00 left",
    ]


def test_progress_on_a_terminal_is_a_bar_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    with Progress("pretraining", total=4, unit="steps") as progress:
        progress.update(2, "loss 0.42")
    shown = capsys.readouterr().err
    for part in ("pretraining", "2/4", "steps/s", "left", "loss 0.42"):
        assert part in shown


# jepa plugins


def test_plugins_list_prints_every_name_with_its_state_and_origin() -> None:
    code, out, error = jepa("plugins", "list")
    assert (code, error) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["kind", "name", "state", "package", "refers", "to"]
    version = jepa_core.__version__
    assert ["encoder", "vit", "available", "jepa-core", version, "jepa_core.builtin:vit"] in [
        [*row[:2], "available", *row[3:]] for row in rows
    ]


def test_plugins_list_imports_plugins_only_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text("raise ValueError('no')")
    folder = tmp_path / "stranger-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[jepa.probes]\nodd = stranger:odd\n")
    states = []
    for extra in ([], ["--load"]):
        done = fresh("plugins", "list", "--json", *extra, PYTHONPATH=str(tmp_path))
        assert done.returncode == 0, done.stderr
        states.append({each["name"]: each["state"] for each in json.loads(done.stdout)})
    assert (states[0]["odd"], states[0]["vit"]) == ("available", "available")
    assert (states[1]["odd"], states[1]["vit"]) == ("broken", "loaded")


# jepa config


@pytest.mark.usefixtures("toy")
def test_config_show_of_a_modality_can_be_read_back() -> None:
    code, out, error = jepa("config", "show", "toy", "--set", "seed=3", "--set", "preset=rows")
    assert (code, error) == (0, "")
    assert read_config(text=out) == toy_config("seed=3", "preset=rows")


@pytest.mark.usefixtures("toy")
def test_config_show_of_a_file_is_what_the_file_amounts_to(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("{modality: {name: toy}, train: {steps: 5}}")
    assert read_config(text=jepa("config", "show", str(path))[1]) == toy_config("train.steps=5")


def test_config_show_gives_stand_ins_for_what_only_the_user_knows(toy: object) -> None:
    class NeedyConfig(Section):
        name: Literal["needy"] = "needy"
        root: str
        sizes: tuple[int, int]
        mode: Literal["a", "b"]

    class Needy(Toy):
        name: ClassVar[str] = "needy"
        Config: ClassVar[type[Section]] = NeedyConfig

    with modalities.temporarily(Needy):
        code, out, _ = jepa("config", "show", "needy")
        assert code == 0
        assert read_config(text=out).modality == NeedyConfig(root="CHANGE-ME", sizes=(1, 1), mode="a")


def test_config_show_of_neither_a_file_nor_a_modality_lists_what_is_installed(toy: object) -> None:
    code, out, error = jepa("config", "show", "nothing")
    assert (code, out) == (2, "")
    assert error.startswith("error: nothing: neither a file nor an installed modality. Installed: ")
    assert "toy" in error
    code, _, error = jepa("config", "show", "absent.yaml")
    assert (code, error) == (2, "error: absent.yaml: there is no such file\n")


@pytest.mark.usefixtures("toy")
def test_config_validate_reports_every_problem_of_every_file(tmp_path: Path) -> None:
    texts = {
        "good.yaml": "modality: {name: toy}",
        "bad.yaml": "{modality: {name: toy, siez: 3}, seed: x}",
        "misfit.yaml": "{modality: {name: toy}, masking: {name: toy_rows, rows: 6}}",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in texts]
    code, out, error = jepa("config", "validate", *paths)
    assert (code, out) == (2, f"{paths[0]}: ok\n")
    assert f"error: {paths[1]}: 2 problems\n  seed: " in error
    assert "modality.siez" in error
    assert f"error: {paths[2]}: masking.rows: 6 rows hide the whole grid of 6 x 6 (rows, columns)." in error
    assert jepa("config", "validate", paths[0])[0] == 0
    assert jepa("config", "validate", paths[0], "--set", "seed=x")[0] == 2


@pytest.mark.usefixtures("toy")
def test_config_schema_narrows_to_the_named_plugins() -> None:
    code, out, _ = jepa("config", "schema", "--modality", "toy", "--masking", "toy_rows")
    assert code == 0
    schema = json.loads(out)
    assert schema["properties"]["masking"]["anyOf"] == [{"$ref": "#/$defs/ToyRowsConfig"}]
    assert schema["properties"]["modality"]["anyOf"] == [{"$ref": "#/$defs/ToyConfig"}]
    assert len(schema["properties"]["objective"]["anyOf"]) >= 3
    code, _, error = jepa("config", "schema", "--masking", "toy_row")
    assert code == 2
    assert "Did you mean 'toy_rows'?" in error


def test_config_schema_leaves_out_a_broken_plugin_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = maskings.get

    def get(name: str) -> object:
        if name == "random":
            raise PluginNotFound("masking 'random': lost")
        return real(name)

    monkeypatch.setattr(maskings, "get", get)
    code, out, error = jepa("config", "schema")
    assert code == 0
    assert "RandomMaskingConfig" not in json.loads(out)["$defs"]
    assert "warning: left out: masking 'random': lost" in error
