from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from toy import Toy, toy_registered
from typer.testing import CliRunner

from jepa_core import doctor
from jepa_core.cli import doctor as command
from jepa_core.plugin import Modality
from jepa_core.registry import Registry
from jepa_core.types import Finding


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    with toy_registered():
        return doctor.examine(tmp_path_factory.mktemp("runs"))


def test_a_healthy_installation_has_nothing_that_fails(findings: list[Finding]) -> None:
    assert [finding for finding in findings if finding.state == "fail"] == []
    named = {finding.what for finding in findings}
    assert {"python", "versions", "torch", "processor", "precision", "threads", "waiting", "run folder"} <= named
    assert {"shared memory", "tensorboard", "wandb", "modality", "masking", "two processes"} <= named


def test_whatever_is_not_ok_comes_with_a_remedy(findings: list[Finding]) -> None:
    assert all(finding.remedy for finding in findings if finding.state != "ok")


def test_two_processes_sum_a_tensor(findings: list[Finding]) -> None:
    (finding,) = [finding for finding in findings if finding.what == "two processes"]
    assert finding.state == "ok", finding.detail


def test_two_processes_that_do_not_meet_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "all_reduce", os._exit)  # called with two arguments: it raises in the child
    finding = doctor.processes()
    assert finding.state == "warn"
    assert "[1, 1]" in finding.detail
    assert "GLOO_SOCKET_IFNAME" in finding.remedy


def distribution(folder: Path, name: str, *requires: str, points: str = "") -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {each}" for each in requires)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "entry_points.txt").write_text(points)


def unmet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(folder))
    return "; ".join(finding.detail for finding in doctor.requirements() if finding.state == "fail")


def test_a_companion_of_another_torch_release_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(tmp_path, "companion", "torch==1.0.0", "no-such-package")
    detail = unmet(tmp_path, monkeypatch)
    assert f"companion needs torch ==1.0.0, and {torch.__version__.partition('+')[0]}" in detail
    assert "no-such-package" not in detail, "a stranger's other requirements are not our business"


def test_a_plugin_whose_requirement_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = "[jepa.modalities]\nsmell = smell:plugin\n"
    distribution(tmp_path, "smell", "no-such-package>=2", "extra-only; extra == 'all'", points=points)
    assert unmet(tmp_path, monkeypatch) == "smell needs no-such-package, which is not installed"


def test_a_torch_that_cannot_be_imported_ends_the_checks_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"{name}: libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor, "importlib", SimpleNamespace(import_module=broken))
    monkeypatch.setattr(doctor, "plugins", tuple)
    findings = doctor.examine(Path("runs"))
    assert {finding.what: finding.state for finding in findings}["torch"] == "fail"
    assert "libcudart" in next(finding.detail for finding in findings if finding.what == "torch")
    assert not {"processor", "precision", "threads", "two processes"} & {finding.what for finding in findings}


def test_more_threads_than_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(doctor, "cores", lambda: [0, 1])
    assert doctor.threads() == Finding("threads", "warn", "64 for torch, 2 cores", "export OMP_NUM_THREADS=2")


@pytest.mark.parametrize(
    ("policy", "load", "state"), [("", 1.9, "warn"), ("", 0.3, "ok"), ("PASSIVE", 1.9, "ok"), ("passive", 1.9, "ok")]
)
def test_spinning_threads_matter_only_on_a_busy_machine(
    policy: str, load: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(doctor, "cores", lambda: [0, 1])
    monkeypatch.setattr(doctor, "main_device", lambda: torch.device("cpu"))
    assert doctor.waiting().state == state


@pytest.mark.parametrize(("fast", "meaning"), [(True, "auto is bf16 on cpu"), (False, "auto is fp32 on cpu")])
def test_precision_says_what_auto_means_here(fast: bool, meaning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "main_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    assert doctor.precision().detail.startswith(meaning)


@pytest.mark.parametrize("check", [doctor.shared_memory, lambda: doctor.disk(Path("runs"))])
def test_little_room_is_a_warning(check: Callable[[], Finding], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**26))
    finding = check()
    assert finding.state == "warn"
    assert "0.1 GiB free" in finding.detail


def test_a_run_folder_need_not_exist_yet(tmp_path: Path) -> None:
    assert doctor.disk(tmp_path / "not" / "yet").state == "ok"
    assert not (tmp_path / "not").exists()


def test_a_run_folder_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode == os.W_OK))
    finding = doctor.disk(tmp_path / "runs")
    assert finding.state == "fail"
    assert str(tmp_path) in finding.detail


def registry_of(**points: str) -> Registry[Modality]:
    group = "jepa.modalities"
    return Registry("modality", group, Modality, lambda _: [EntryPoint(n, v, group) for n, v in points.items()])


def test_a_broken_plugin_is_a_warning_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REGISTRIES", {"modality": registry_of(smell="no_such_module:x", toy="toy:TOY")})
    broken, names = doctor.plugins()
    assert (broken.what, broken.state) == ("modality smell", "warn")
    assert "no_such_module" in broken.detail
    assert (names.state, names.detail) == ("ok", "toy")


def test_an_installation_without_any_modality_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REGISTRIES", {"modality": registry_of()})
    (finding,) = doctor.plugins()
    assert finding.state == "fail"


def test_a_modality_adds_lines_of_its_own(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Finding("toy reader", "warn", "out of tune", "tune it")
    monkeypatch.setattr(toy, "doctor", lambda: [line])
    assert line in list(doctor.plugins())


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return app


@pytest.mark.parametrize(("state", "exit_code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_command_fails_only_where_something_needed_does(
    state: str, exit_code: int, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding("tea", state, "cold [0 C]", "boil it")  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(doctor, "examine", lambda _: [finding])
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == exit_code
    assert all(part in shown.stdout for part in ("tea", state, "cold [0 C]", "boil it"))

    answer = CliRunner().invoke(app, ["doctor", "--json"])
    assert answer.exit_code == exit_code
    told = {"what": "tea", "state": state, "detail": "cold [0 C]", "remedy": "boil it"}
    assert json.loads(answer.stdout) == {"ok": exit_code == 0, "findings": [told]}
