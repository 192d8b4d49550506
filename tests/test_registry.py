"""The registry, with distributions that are written to a folder and never installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from sites import Site
from toy import TOY_ROWS, Toy, ToyConfig

from jepa_core import registry as core
from jepa_core.builtin import L2Config
from jepa_core.config import Section
from jepa_core.errors import (
    PluginConflict,
    PluginError,
    PluginIncompatible,
    PluginLoadError,
    PluginNotFound,
)
from jepa_core.plugin import API_VERSION, Masking, Modality, ObjectivePlugin
from jepa_core.registry import FactoryRegistry, Registry

ROOT = Path(__file__).parent.parent
HEALTHY = """
    from jepa_core.builtin import L2Config
    from jepa_core.plugin import ObjectivePlugin

    thing = ObjectivePlugin("thing", L2Config, "jepa_core.objectives:L2", "made up")
    other = ObjectivePlugin("other", L2Config, "jepa_core.objectives:L2", "made up too")
    old = ObjectivePlugin("old", L2Config, "jepa_core.objectives:L2", api_version=0)
    ancient = ObjectivePlugin("ancient", L2Config, "jepa_core.objectives:L2", api_version=-1)
    newer = ObjectivePlugin("newer", L2Config, "jepa_core.objectives:L2", api_version=2)
    odd = ObjectivePlugin("odd", L2Config, "jepa_core.objectives:L2", api_version="1")
    text = "thing"
    misnamed = thing
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    for variable in ("JEPA_PLUGINS", "JEPA_STRICT_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)
    return Site(tmp_path)


def message_of(use: Callable[[], object], error: type[PluginError]) -> str:
    with pytest.raises(error) as caught:
        use()
    return str(caught.value)


def test_a_name_is_imported_when_it_is_asked_for_and_nothing_else_is(site: Site) -> None:
    wanted = site.add("mine", HEALTHY, "thing")
    unwanted = site.add("theirs", HEALTHY, "other")
    registry = site.registry()
    assert registry.names() == ("other", "thing")
    assert wanted not in sys.modules
    assert registry.get("thing").summary == "made up"
    assert wanted in sys.modules
    assert unwanted not in sys.modules


def test_a_plugin_is_loaded_once(site: Site) -> None:
    site.add("mine", HEALTHY, "thing")
    registry = site.registry()
    assert registry.get("thing") is registry.get("thing")


def test_metadata_is_scanned_once_and_not_before_the_first_use() -> None:
    groups: list[str] = []

    def scan(group: str) -> list[EntryPoint]:
        groups.append(group)
        return []

    registry = Registry("objective", "some.group", ObjectivePlugin, scan)
    assert groups == []
    registry.entries()
    registry.names()
    assert groups == ["some.group", "jepa.hints"]


def test_entries_tell_name_state_and_origin_from_metadata_alone(site: Site) -> None:
    module = site.add("mine", "raise SystemError('imported')", "thing", version="3.1")
    (entry,) = site.registry().entries()
    assert (entry.name, entry.kind, entry.state, entry.summary) == ("thing", "objective", "available", "")
    (source,) = entry.provenance
    assert (source.distribution, source.version, source.target) == ("mine", "3.1", f"{module}:thing")


def test_a_loaded_entry_has_its_summary(site: Site) -> None:
    site.add("mine", HEALTHY, "thing", "other")
    registry = site.registry()
    registry.get("other")
    assert [(entry.name, entry.state, entry.summary) for entry in registry.entries()] == [
        ("other", "loaded", "made up too"),
        ("thing", "available", ""),
    ]


def test_a_broken_plugin_harms_nobody_else_and_raises_its_own_error_when_used(site: Site) -> None:
    site.add("broken", "import no_such_module_anywhere", "bad")
    site.add("mine", HEALTHY, "thing")
    registry = site.registry()
    assert registry.get("thing").name == "thing"
    for _ in range(2):  # the error is kept
        with pytest.raises(PluginLoadError, match="no_such_module_anywhere") as caught:
            registry.get("bad")
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)
        assert "broken 1.0" in str(caught.value)
        assert "pip uninstall broken" in str(caught.value)
    assert {entry.name: entry.state for entry in registry.entries()} == {"bad": "broken", "thing": "loaded"}
    assert "no_such_module_anywhere" in registry.entries()[0].error


def test_a_broken_plugin_is_not_imported_a_second_time(site: Site) -> None:
    log = site.path / "imports.txt"
    site.add("broken", f"with open({str(log)!r}, 'a') as log:\n    log.write('x')\nraise ValueError('no')", "bad")
    registry = site.registry()
    for _ in range(3):
        with pytest.raises(PluginLoadError):
            registry.get("bad")
    assert log.read_text() == "x"


def test_an_entry_point_that_names_nothing_is_a_load_error(site: Site) -> None:
    site.add("mine", HEALTHY, "absent")
    assert "AttributeError" in message_of(lambda: site.registry().get("absent"), PluginLoadError)


def test_two_distributions_with_one_name_are_a_conflict_that_names_both_and_how_to_resolve_it(site: Site) -> None:
    modules = [site.add("first", HEALTHY, "thing"), site.add("second", HEALTHY, "thing", version="2.0")]
    registry = site.registry()
    message = message_of(lambda: registry.get("thing"), PluginConflict)
    for part in ("first 1.0", "second 2.0", "pip uninstall first", "pip uninstall second"):
        assert part in message
    (entry,) = registry.entries()
    assert (entry.state, entry.error) == ("conflict", message)
    assert {source.distribution for source in entry.provenance} == {"first", "second"}
    assert not set(modules) & set(sys.modules)


def test_the_plugin_interface_before_ours_is_accepted_with_a_warning_that_names_the_package(site: Site) -> None:
    assert API_VERSION == 1
    site.add("elderly", HEALTHY, "old")
    registry = site.registry()
    with pytest.warns(FutureWarning, match=r"elderly 1\.0.*API 0.*pip install --upgrade elderly"):
        assert registry.get("old").name == "old"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.get("old")  # once is enough


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("ancient", "upgrade mine"), ("newer", "upgrade jepa-core"), ("odd", "upgrade mine")],
)
def test_any_other_plugin_interface_is_refused_with_the_package_to_upgrade(site: Site, name: str, remedy: str) -> None:
    site.add("mine", HEALTHY, name)
    registry = site.registry()
    message = message_of(lambda: registry.get(name), PluginIncompatible)
    assert "accepts 0 and 1" in message
    assert message.endswith(remedy)
    assert registry.entries()[0].state == "incompatible"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("text", "is of type str"),
        ("ObjectivePlugin", "is the class ObjectivePlugin"),
        ("misnamed", "calls itself 'thing'"),
    ],
)
def test_what_is_no_plugin_of_the_kind_and_name_is_a_load_error(site: Site, name: str, problem: str) -> None:
    site.add("mine", HEALTHY, name)
    assert problem in message_of(lambda: site.registry().get(name), PluginLoadError)


def test_an_unknown_name_lists_what_is_installed_and_suggests_the_nearest(site: Site) -> None:
    site.add("mine", HEALTHY, "thing", "other")
    message = message_of(lambda: site.registry().get("thign"), PluginNotFound)
    assert "Did you mean 'thing'?" in message
    assert "Installed: other, thing." in message


def test_a_name_that_a_first_party_package_supplies_is_answered_with_how_to_install_it() -> None:
    empty = Registry("masking", "no.such.group", Masking)
    message = message_of(lambda: empty.get("multiblock"), PluginNotFound)
    assert message.startswith(
        "masking 'multiblock' comes with jepa-image: pip install -e plugins/image (in a checkout)"
    )
    assert "Installed: none." in message
    assert "jepa-image brings block, quadrant" in message
    assert "Did you mean 'tube'?" in message_of(lambda: empty.get("tubes"), PluginNotFound)


def test_hints_know_every_name_that_the_first_party_plugins_register() -> None:
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["jepa.hints"]
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        for group, points in project.get("entry-points", {}).items():
            kind = next(kind for kind, registry in core.REGISTRIES.items() if registry.group == group)
            for name in points:
                assert own.get(f"{kind}.{name}", "").replace("_", "-") == project["name"], (kind, name)


@pytest.mark.parametrize("listed", ["mine", "Mine", "JEPA.mine", "other-thing, mine"])
def test_the_allow_list_names_distributions_with_or_without_the_prefix(
    site: Site, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("jepa-mine", HEALTHY, "thing")
    site.add("theirs", HEALTHY, "other")
    monkeypatch.setenv("JEPA_PLUGINS", listed)
    registry = site.registry()
    assert registry.names() == ("thing",)
    assert f"hidden by JEPA_PLUGINS={listed}" in message_of(lambda: registry.get("other"), PluginNotFound)


def test_the_allow_list_never_hides_the_core_or_this_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("jepa-core", HEALTHY, "thing")
    monkeypatch.setenv("JEPA_PLUGINS", "")
    registry = site.registry()
    registry.register(ObjectivePlugin("here", L2Config, "jepa_core.objectives:L2"))
    assert registry.names() == ("here", "thing")


def test_claimants_are_named_in_the_order_of_their_names_however_they_are_found() -> None:
    points = [EntryPoint("far", f"{package}:far", "jepa.objectives") for package in ("late", "early")]
    for scanned in (points, points[::-1]):
        registry = FactoryRegistry("objective", "jepa.objectives", ObjectivePlugin, lambda group, found=scanned: found)
        (entry,) = registry.entries()
        assert [source.target for source in entry.provenance] == ["early:far", "late:far"]


def test_the_allow_list_resolves_a_conflict(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("first", HEALTHY, "thing")
    second = site.add("second", HEALTHY, "thing")
    monkeypatch.setenv("JEPA_PLUGINS", "second")
    site.registry().get("thing")
    assert second in sys.modules


def test_strict_mode_raises_the_first_problem_of_any_plugin_at_the_first_use(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("mine", HEALTHY, "thing")
    site.add("broken", "raise ValueError('no')", "bad")
    monkeypatch.setenv("JEPA_STRICT_PLUGINS", "0")
    assert site.registry().get("thing").name == "thing"
    monkeypatch.setenv("JEPA_STRICT_PLUGINS", "1")
    with pytest.raises(PluginLoadError, match="bad"):
        site.registry().get("thing")
    with pytest.raises(PluginLoadError, match="bad"):
        site.registry().entries()


def test_an_in_process_plugin_is_found_and_says_so(site: Site) -> None:
    registry = site.registry()
    plugin = ObjectivePlugin("here", L2Config, "jepa_core.objectives:L2", "from a notebook")
    assert registry.register(plugin) is plugin
    assert registry.get("here") is plugin
    (entry,) = registry.entries()
    assert (entry.state, entry.summary, entry.provenance[0].distribution) == (
        "loaded",
        "from a notebook",
        "(this process)",
    )


def test_registering_a_name_again_replaces_it_as_rerunning_a_cell_does(site: Site) -> None:
    registry = site.registry()
    for summary in ("first", "second"):
        registry.register(ObjectivePlugin("here", L2Config, "jepa_core.objectives:L2", summary))
    assert registry.get("here").summary == "second"


def test_an_in_process_name_that_a_package_supplies_too_is_a_conflict(site: Site) -> None:
    site.add("mine", HEALTHY, "thing")
    registry = site.registry()
    registry.register(ObjectivePlugin("thing", L2Config, "jepa_core.objectives:L2"))
    message = message_of(lambda: registry.get("thing"), PluginConflict)
    assert "mine 1.0" in message
    assert "(this process)" in message
    assert message.endswith("register yours under another name")


def test_register_decorates_a_modality_class() -> None:
    registry = Registry[Modality]("modality", "no.such.group", Modality)

    @registry.register
    class Decorated(Toy):
        name = "decorated"

    assert isinstance(registry.get("decorated"), Decorated)


def test_define_decorates_what_builds_the_object_and_takes_its_name_from_the_section() -> None:
    registry = FactoryRegistry[Masking]("masking", "no.such.group", Masking)

    class HalfConfig(Section):
        name: str = "half"

    @registry.define(HalfConfig, "half of it", num_axes=(2,))
    def half(config: HalfConfig, grid: object) -> tuple[str, object]:
        return config.name, grid

    plugin = registry.get("half")
    assert (plugin.summary, plugin.num_axes, plugin.Config) == ("half of it", (2,), HalfConfig)
    grid = Toy().grid(ToyConfig())
    assert plugin.build(HalfConfig(), grid) == ("half", grid)


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [(TOY_ROWS, "is of type Masking"), (42, "is of type int"), (Masking, "must be an instance of ObjectivePlugin")],
)
def test_registering_something_else_is_refused_at_once(site: Site, plugin: object, problem: str) -> None:
    registry = site.registry()
    if plugin is Masking:
        plugin = type("Bare", (), {"name": "bare"})
    with pytest.raises(PluginLoadError, match=problem):
        registry.register(plugin)
    assert registry.names() == ()


def test_a_modality_that_lacks_a_part_is_refused_with_the_part() -> None:
    lacking = type("Lacking", (Modality,), {**{key: Toy.__dict__[key] for key in Modality.__abstractmethods__}})
    with pytest.raises(PluginLoadError, match="has no name and no summary and no Config"):
        Registry("modality", "no.such.group", Modality).register(lacking)


def test_temporarily_brings_back_what_was_there_before(site: Site) -> None:
    registry = site.registry()
    before = ObjectivePlugin("here", L2Config, "jepa_core.objectives:L2")
    registry.register(before)
    inside = ObjectivePlugin("here", L2Config, "jepa_core.objectives:L2", "inside")
    with registry.temporarily(inside) as given:
        assert registry.get("here") is given is inside
    assert registry.get("here") is before
    with pytest.raises(KeyError), registry.temporarily(inside):
        raise KeyError
    assert registry.get("here") is before


def test_temporarily_leaves_other_names_that_were_registered_meanwhile(site: Site) -> None:
    registry = site.registry()
    with registry.temporarily(ObjectivePlugin("a", L2Config, "jepa_core.objectives:L2")):
        registry.register(ObjectivePlugin("a", L2Config, "jepa_core.objectives:L2"))
        registry.register(ObjectivePlugin("b", L2Config, "jepa_core.objectives:L2"))
    assert registry.names() == ("b",)


@pytest.mark.parametrize("name", ["l", "smooth_l1", "Block-3D", "yes", "n" * 64])
def test_a_name_of_letters_digits_underscores_and_hyphens_is_registered(site: Site, name: str) -> None:
    registry = site.registry()
    registry.register(ObjectivePlugin(name, L2Config, "jepa_core.objectives:L2"))
    assert registry.names() == (name,)


@pytest.mark.parametrize(
    "name", ["", "has space", "a.b", "ümlaut", "3d", "1e5", "true", "null", "a\n", "n" * 65, 7, None]
)
def test_any_other_name_is_refused_and_the_registry_stays_as_it_was(site: Site, name: Any) -> None:
    registry = site.registry()
    with pytest.raises(PluginLoadError, match=r"at most 64 letters .* YAML reads as text, found"):
        registry.register(ObjectivePlugin(name, L2Config, "jepa_core.objectives:L2"))
    assert registry.names() == ()


def test_a_section_that_gives_no_name_cannot_define_a_plugin(site: Site) -> None:
    class Nameless(Section):
        name: str

    registry = site.registry()
    for section in (Nameless, Section):
        with pytest.raises(
            PluginLoadError, match=f"objective: {section.__name__} gives no name: expected a field `name`"
        ):
            registry.define(section)(print)
    assert registry.names() == ()


def test_the_section_class_is_the_plugins_own() -> None:
    assert core.section_class("objective", "l2") is L2Config
    with pytest.raises(PluginNotFound, match="objective 'l3'"):
        core.section_class("objective", "l3")


def test_the_core_registers_what_it_has_through_entry_points() -> None:
    own = {
        (entry.kind, entry.name)
        for registry in core.REGISTRIES.values()
        for entry in registry.entries()
        if entry.provenance[0].distribution == "jepa-core"
    }
    assert {("masking", "random"), ("objective", "l2"), ("encoder", "vit"), ("probe", "linear")} <= own
    for kind, name in own:
        assert core.REGISTRIES[kind].get(name).name == name


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_fresh_interpreter_scans_nothing_at_import_and_loads_nothing_heavy_for_entries(tmp_path: Path) -> None:
    Site(tmp_path).add("stranger", "raise SystemError('plugin code ran')", "thing")
    code = """
import importlib.metadata, json, sys
real, callers = importlib.metadata.distributions, []
caller = lambda: sys._getframe(2).f_globals["__name__"]
importlib.metadata.distributions = lambda **given: callers.append(caller()) or real(**given)
import jepa_core.registry as registry
assert "jepa_core.supply" not in callers
names = [entry.name for each in registry.REGISTRIES.values() for entry in each.entries()]
heavy = {"torch", "torchvision", "numpy", "PIL", "av", "torchaudio", "accelerate", "matplotlib", "jepa_image"}
assert "jepa_core.supply" in callers
print(json.dumps([names, sorted(heavy & set(sys.modules))]))
"""
    done = run_python(code, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    names, heavy = json.loads(done.stdout)
    assert "thing" in names
    assert "vit" in names
    assert heavy == []


def test_the_doorway_prints_what_the_command_prints() -> None:
    doorway = subprocess.run([sys.executable, str(ROOT / "registry.py")], capture_output=True, text=True, check=True)
    command = run_python("from jepa_core.cli import main; main(['plugins', 'list'])")
    assert doorway.stdout == command.stdout
    assert "jepa_core.builtin:vit" in doorway.stdout
