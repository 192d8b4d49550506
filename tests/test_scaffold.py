"""`jepa plugins new`: what it writes, what it refuses, and that what it writes is a plugin that conforms."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packages import TEMPLATE, install, run_with
from typer.testing import CliRunner

from jepa_core.cli import app
from jepa_core.errors import UsageError
from jepa_core.scaffold import PATTERNS, write_package
from jepa_core.supply import Kind

pytestmark = pytest.mark.usefixtures("logging_as_before")

NAMES: dict[Kind, str] = {"modality": "heart_rate", "masking": "stripes", "objective": "far"}
COMMON = {"README.md", "pyproject.toml"}
WRITTEN: dict[Kind, set[str]] = {
    "modality": {
        *COMMON,
        *(f"src/jepa_heart_rate/{name}" for name in ("__init__.py", "py.typed", "demo.yaml")),
        *(f"src/jepa_heart_rate/{name}.py" for name in ("modality", "signals", "builtin")),
        *(f"src/jepa_heart_rate/data/{name}" for name in ("LICENSE", "shoulder-exercises.npz")),
        "tests/test_heart_rate_conformance.py",
    },
    "masking": {
        *COMMON,
        *(f"src/jepa_stripes/{name}" for name in ("__init__.py", "py.typed", "masking.py", "stripes.py")),
        "tests/test_stripes_conformance.py",
    },
    "objective": {
        *COMMON,
        *(f"src/jepa_far/{name}" for name in ("__init__.py", "py.typed", "objective.py", "far.py")),
        "tests/test_far_conformance.py",
    },
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    folder = tmp_path_factory.mktemp("new")
    for kind, name in NAMES.items():
        write_package(name, kind, folder / kind)
    return {kind: folder / kind for kind in NAMES}


def test_each_kind_of_package_passes_the_kit_as_it_is_written(written: dict[Kind, Path], tmp_path: Path) -> None:
    for project in written.values():
        install(project, tmp_path / "site")
    tests = [project / "tests" for project in written.values()]
    options = ["-q", "-W", "error", "--import-mode=importlib", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = run_with(tmp_path / "site", "pytest", *options, *tests, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.splitlines()[-1]
    assert "passed" in told
    assert "failed" not in told


@pytest.mark.parametrize("kind", NAMES)
def test_the_files_of_the_kind_are_written_and_no_others(kind: Kind, written: dict[Kind, Path]) -> None:
    files = {path.relative_to(written[kind]).as_posix() for path in written[kind].rglob("*") if path.is_file()}
    assert files == WRITTEN[kind]


@pytest.mark.parametrize("kind", NAMES)
def test_the_modules_are_the_templates_but_for_the_names(kind: Kind, written: dict[Kind, Path]) -> None:
    name, word = NAMES[kind], PATTERNS[kind].word
    back = [(f"jepa_{name}", "jepa_series"), (name, word), (name.title().replace("_", ""), word.title())]
    for path in written[kind].rglob("*.py"):
        text, origin = path.read_text(), path.relative_to(written[kind]).as_posix()
        for new, old in [*back, ("jepa-heart-rate", "jepa-series")]:
            text, origin = text.replace(new, old), origin.replace(new, old)
        assert text == (TEMPLATE / origin).read_text()


@pytest.mark.parametrize("kind", NAMES)
def test_the_project_has_the_one_entry_point(kind: Kind, written: dict[Kind, Path]) -> None:
    project = tomllib.loads((written[kind] / "pyproject.toml").read_text())
    name = NAMES[kind]
    group = "jepa.modalities" if kind == "modality" else f"jepa.{kind}s"
    assert project["project"]["entry-points"] == {group: {name: f"jepa_{name}.{kind}:{name}"}}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/jepa_{name}"]
    assert ("license" in project["project"]) == (kind == "modality")  # its data has one; the rest is the author's


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Stripes", "masking", "expected lower-case letters"),
        ("two__underscores", "masking", "expected lower-case letters"),
        ("../up", "masking", "expected lower-case letters"),
        ("random", "masking", "of this name in jepa-core"),
        ("tube", "masking", "of this name in jepa-video"),
        ("class", "objective", "'class' means something else"),
        ("float", "modality", "'Float' means something else"),
        ("source", "modality", "'Source' means something else"),
        ("split", "masking", "'SplitConfig' means something else"),
        ("mine", "probe", "expected one of modality, masking, objective"),
    ],
)
def test_a_name_that_would_not_work_is_refused_before_anything_is_written(
    name: str, kind: Kind, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        write_package(name, kind, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds files already.*--out"):
        write_package("stripes", "masking", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_path_that_is_a_file_is_an_error_of_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_package("stripes", "masking", tmp_path / "file")


def test_the_command_names_the_files_and_the_next_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plugins", "new", "diagonal_stripes", "--kind", "masking"])
    assert done.exit_code == 0, done.output
    listed, _, following = done.stdout.partition("\n\n")
    assert all(Path(line).is_file() for line in listed.splitlines())
    assert "jepa-diagonal-stripes/src/jepa_diagonal_stripes/diagonal_stripes.py" in listed.splitlines()
    assert "pip install -e jepa-diagonal-stripes" in following
    assert "jepa plugins check diagonal_stripes --kind masking" in following


def test_the_command_ends_with_exit_code_2_where_the_kind_is_unknown(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plugins", "new", "mine", "--kind", "sound", "--out", str(tmp_path / "new")])
    assert done.exit_code == 2
    assert "--kind sound: expected one of modality, masking, objective" in done.stderr
