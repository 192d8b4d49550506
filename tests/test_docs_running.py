"""What pages show of sessions and notebooks is what they print (docs/running.py), and code in pages is the code."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


running, hooks = module("running"), module("hooks")


def check(page: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DOCS / "running.py", "--check", DOCS / page]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_notebook_prints_what_it_shows() -> None:
    done = check("plugins.ipynb")
    assert done.returncode == 0, done.stderr


@pytest.mark.wheels  # it builds and installs a package
@pytest.mark.parametrize("page", ["plugin-session.md", "write-a-plugin.md"])
def test_the_commands_of_a_page_print_what_it_shows(page: str) -> None:
    done = check(page)
    assert done.returncode == 0, done.stderr


# Sessions


def test_commands_run_one_after_the_other_in_one_folder_and_their_outputs_are_put_below_them() -> None:
    page = "Text.\n\n```console\n$ echo one > a\n$ cat a; echo two >&2\nold\n```\n\n```console\n$ ls\n```\n"
    ran = "Text.\n\n```console\n$ echo one > a\n$ cat a; echo two >&2\none\ntwo\n```\n\n```console\n$ ls\na\n```\n"
    assert running.session(page) == ran


def test_blocks_without_commands_are_left_alone() -> None:
    page = "```console\njepa demo image\n```\n"
    assert running.session(page) == page


def test_a_page_writes_files_and_takes_folders_of_the_repository() -> None:
    page = (
        "<!-- session: a.yaml -->\n```yaml\nkey: 1\n```\n"
        "<!-- session: docs/assets as pictures -->\n"
        "```console\n$ cat a.yaml; ls pictures | grep masks.png\n```\n"
    )
    assert running.session(page).endswith("$ cat a.yaml; ls pictures | grep masks.png\nkey: 1\nmasks.png\n```\n")


def test_a_command_that_fails_ends_the_session_with_its_output() -> None:
    with pytest.raises(SystemExit, match=r"\$ echo no; false\nno\nended with exit code 1"):
        running.session("```console\n$ echo no; false\n```\n")


def test_a_method_is_replaced_and_nothing_else() -> None:
    source = "class A:\n    def one(self):\n        return 1\n\n    def two(self):\n        return 2\n"
    found = running.replaced(source, "A.one", "def one(self):\n    return 11\n")
    assert found == source.replace("return 1\n", "return 11\n")


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ("loss 0.4131, 11.8 steps/s, 00:00:03 left", "loss 0.4140, 2.33 steps/s, 00:01:13 left"),
        ("work: 4/4 steps, 2 steps/s\n", "work: 3/4 steps, 1 steps/s\nwork: 4/4 steps, 1 steps/s\n"),
        ("5 passed in 0.62s", "5 passed in 12.31s"),
        ('"image/png": "abc"', '"image/png": "def"'),
    ],
)
def test_speeds_times_pictures_and_last_digits_may_differ(shown: str, found: str) -> None:
    assert running.differences(shown, found) == []


@pytest.mark.parametrize(
    ("shown", "found"),
    [("loss 0.41", "loss 0.52"), ("18 context", "19 context"), ("pass", "fail"), ("one\n", "one\ntwo\n")],
)
def test_anything_else_is_a_difference_and_is_shown(shown: str, found: str) -> None:
    told = running.differences(shown, found)
    assert f"+{found.splitlines()[-1]}" in told


# Notebooks


def cells(*sources: str) -> str:
    return json.dumps({"cells": [{"cell_type": "code", "source": [source], "outputs": []} for source in sources]})


def test_cells_share_their_names_and_show_what_they_print_and_what_stands_last() -> None:
    ran = json.loads(running.notebook(cells("x = 2\nprint('two')", "x * 3", "y = 1")))["cells"]
    assert [cell["execution_count"] for cell in ran] == [1, 2, 3]
    assert ran[0]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["two\n"]}]
    assert ran[1]["outputs"][0]["data"] == {"text/plain": ["6"]}
    assert ran[2]["outputs"] == []


def test_classes_of_cells_belong_to_a_main_module_of_their_own() -> None:
    before = sys.modules["__main__"]
    source = "import pickle\nclass A: pass\npickle.loads(pickle.dumps(A)) is A"
    (cell,) = json.loads(running.notebook(cells(source)))["cells"]
    assert cell["outputs"][0]["data"] == {"text/plain": ["True"]}
    assert sys.modules["__main__"] is before


def test_a_picture_is_kept_as_jupyter_keeps_it() -> None:
    source = "class P:\n    def _repr_png_(self): return b'png'\nP()"
    (cell,) = json.loads(running.notebook(cells(source)))["cells"]
    assert cell["outputs"][0]["data"]["image/png"] == "cG5n"


def test_a_check_leaves_the_page_alone_and_a_run_writes_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo new\nold\n```\n")
    with pytest.raises(SystemExit, match=r"(?s)page.md.*-old.*\+new"):
        running.main(["--check", str(page)])
    assert "old" in page.read_text()
    running.main([str(page)])
    assert page.read_text() == "```console\n$ echo new\nnew\n```\n"
    running.main(["--check", str(page)])


# What the site takes from the code


def test_a_page_takes_a_file_or_a_class_with_its_decorators_or_a_method() -> None:
    path = "examples/plugin_template/src/jepa_series/signals.py"
    text = hooks.on_page_markdown(f"<!-- code: {path}, TrainingClip -->")
    assert text.startswith('```python\n@dataclass(frozen=True)\nclass TrainingClip:\n    """')
    assert text.endswith("\n```")
    assert hooks.on_page_markdown(f"<!-- code: {path}, TrainingClip.__call__ -->").startswith(
        "```python\ndef __call__("
    )
    whole = hooks.on_page_markdown("<!-- code: examples/plugin_template/pyproject.toml -->")
    assert whole.startswith("```toml\n[build-system]")


def test_every_piece_of_code_that_a_page_takes_exists() -> None:
    for page in DOCS.glob("*.md"):
        for match in hooks.CODE.finditer(page.read_text(encoding="utf-8")):
            assert hooks.code(match[1], match[2]).count("\n") > 2


def test_a_notebook_becomes_a_page_with_what_its_cells_printed_and_showed() -> None:
    text = hooks.on_page_markdown("<!-- notebook: docs/plugins.ipynb -->")
    assert text.startswith("# Plugins in a notebook")
    assert '@maskings.define(SpanConfig, "one hidden span", num_axes=(1,))' in text
    assert "views_well_formed" in text
    assert "(data:image/png;base64," in text
