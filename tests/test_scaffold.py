"""`jepa plugins new`: what it writes, what it refuses, and that what it writes is a plugin that conforms."""

from __future__ import annotations

import re
import shutil
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
    assert "license" not in project["project"], "it is the author's choice"
    assert ("license-files" in project["project"]) == (kind == "modality"), "its data has one"
    wanted = {each.partition(">")[0] for each in project["project"]["dependencies"]}
    modules = "".join(path.read_text() for path in (written[kind] / "src").rglob("*.py"))
    assert wanted == {"jepa-core", *(["numpy"] if "import numpy" in modules else [])}


@pytest.mark.parametrize("kind", NAMES)
def test_no_result_of_the_template_is_given_for_one_of_the_new_package(kind: Kind, written: dict[Kind, Path]) -> None:
    texts = [path.read_text() for path in written[kind].rglob("*") if path.suffix in {".py", ".md", ".yaml"}]
    assert not [text for text in texts if re.search(r"Price|Expected|\d %|seconds of processor|three\s+seeds", text)]


@pytest.mark.parametrize("kind", NAMES)
def test_lines_stay_readable_with_a_long_name(kind: Kind, tmp_path: Path) -> None:
    files = write_package("quarter_hourly_rates", kind, tmp_path / "new")
    code = [line for path in files if path.suffix in {".py", ".toml"} for line in path.read_text().splitlines()]
    assert max(map(len, code)) <= 120


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Stripes", "masking", "expected lower-case letters"),
        ("two__underscores", "masking", "expected lower-case letters"),
        ("../up", "masking", "expected lower-case letters"),
        ("random", "masking", "of this name in jepa-core"),
        ("tube", "masking", "of this name in jepa-video"),
        ("true", "masking", "YAML reads as text, found 'true'"),
        ("null", "objective", "YAML reads as text, found 'null'"),
        ("n" * 65, "masking", "at most 64 letters"),
        ("n" * 300, "modality", "at most 64 letters"),
        ("image", "masking", "jepa-image is a package of jepa-core's own project. Choose another name"),
        ("video", "objective", "jepa-video is a package of jepa-core's own project"),
        ("audio", "masking", "jepa-audio is a package of jepa-core's own project"),
        ("core", "modality", "jepa-core is a package of jepa-core's own project"),
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


@pytest.mark.parametrize("installed", ["package", "metadata"])
def test_a_package_that_is_installed_is_not_written_again_for_another_kind(
    installed: str, written: dict[Kind, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(written["modality"], tmp_path)
    if installed == "package":
        shutil.rmtree(tmp_path / "jepa_heart_rate-0.1.0.dist-info")
    else:
        shutil.rmtree(tmp_path / "jepa_heart_rate")
    with pytest.raises(UsageError, match=r"jepa-heart-rate, .* is installed. Choose another name, or add .* by hand"):
        write_package("heart_rate", "masking", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds files already. Choose another name, .*--out DIR.* by hand"):
        write_package("stripes", "masking", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_path_that_is_a_file_is_an_error_of_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_package("stripes", "masking", tmp_path / "file")


@pytest.mark.parametrize("call", ["is_dir", "iterdir"])
def test_a_folder_that_cannot_be_looked_into_is_an_error_of_usage(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "new").mkdir()
    usual = getattr(Path, call)
    monkeypatch.setattr(Path, call, lambda path: refuse(path) if path == tmp_path / "new" else usual(path))
    with pytest.raises(UsageError, match=r"cannot be written .*Permission denied.*--out DIR"):
        write_package("stripes", "masking", tmp_path / "new")


@pytest.mark.parametrize("exists", [True, False])
def test_an_error_halfway_leaves_nothing_behind(exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new"
    if exists:
        out.mkdir()
    whole, written = Path.write_bytes, list[Path]()

    def full(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_package("stripes", "masking", out)
    assert list(tmp_path.rglob("*")) == ([out] if exists else [])


def test_an_empty_folder_is_filled_and_stays_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write_package("stripes", "masking", Path())
    assert tmp_path.stat().st_ino == before
    assert {path.name for path in tmp_path.iterdir()} == {*COMMON, "src", "tests"}


def test_the_printed_commands_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    out = tmp_path / "with space"
    done = CliRunner().invoke(app, ["plugins", "new", "stripes", "--kind", "masking", "--out", str(out)])
    assert f"pip install -e '{out}'" in done.stdout


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
