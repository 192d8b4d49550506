"""Other people's packages: what they may not do to first-party names, to the output, and to each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from sites import Site
from toy import Toy, ToyConfig, toy_registered
from typer.testing import CliRunner

from jepa_core import supply
from jepa_core.builtin import L2Config
from jepa_core.cli import app
from jepa_core.errors import PluginConflict, PluginLoadError, PluginNotFound
from jepa_core.plugin import Masking, ObjectivePlugin
from jepa_core.registry import Registry, maskings, objectives
from jepa_core.types import TokenGrid

TESTS = Path(__file__).parent
HEALTHY = """
    from jepa_core.builtin import L2Config
    from jepa_core.plugin import ObjectivePlugin

    thing = ObjectivePlugin("thing", L2Config, "jepa_core.objectives:L2", "healthy")
"""
RESERVED = {"jepa.hints": {"objective.thing": "jepa_own"}}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    for variable in ("JEPA_PLUGINS", "JEPA_STRICT_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)
    return Site(tmp_path)


# Reserved names


@pytest.mark.parametrize("owner", ["jepa-own", "Jepa_Own"])
def test_a_name_that_the_core_reserves_is_supplied_by_its_owner_whoever_else_claims_it(site: Site, owner: str) -> None:
    site.register("jepa-core", RESERVED)
    site.add(owner, HEALTHY, "thing")
    shadow = site.add("shadow", HEALTHY, "thing", version="2.0")
    registry = site.registry()
    assert registry.get("thing").summary == "healthy"
    assert shadow not in sys.modules
    assert [source.distribution for source in registry.suppliers("thing")] == [owner]
    assert registry.names() == ("thing",)
    own, claim = registry.entries()
    assert (own.state, own.provenance[0].distribution) == ("loaded", owner)
    assert (claim.name, claim.state, claim.provenance[0].distribution) == ("thing", "conflict", "shadow")
    assert claim.error.startswith("objective 'thing' is reserved for jepa-own, and not taken from shadow 2.0")
    assert claim.error.endswith("pip uninstall shadow")


def test_a_reserved_name_without_its_owner_is_an_error_that_says_who_claims_it_and_who_brings_it(site: Site) -> None:
    site.register("jepa-core", RESERVED)
    shadow = site.add("shadow", HEALTHY, "thing")
    registry = site.registry()
    with pytest.raises(PluginConflict, match=r"not taken from shadow 1\.0.*uninstall shadow\. jepa-own brings it: pip"):
        registry.get("thing")
    assert shadow not in sys.modules
    assert [(entry.state, len(entry.provenance)) for entry in registry.entries()] == [("conflict", 1)]
    assert registry.suppliers("thing") == ()


def test_what_the_core_supplies_itself_is_reserved_for_it(site: Site) -> None:
    site.add("jepa-core", HEALTHY, "thing")
    site.add("shadow", HEALTHY, "thing")
    registry = site.registry()
    assert registry.get("thing").summary == "healthy"
    assert [entry.state for entry in registry.entries()] == ["loaded", "conflict"]
    assert "reserved for jepa-core" in registry.entries()[1].error


def test_hints_of_other_distributions_reserve_nothing(site: Site) -> None:
    site.register("bully", RESERVED)
    site.add("mine", HEALTHY, "thing")
    assert site.registry().get("thing").summary == "healthy"
    site.add("jepa-own", HEALTHY, "thing")
    with pytest.raises(PluginConflict, match=r"supplied by .* and none is picked"):
        site.registry().get("thing")


def test_a_hint_keeps_a_name_of_its_own_kind_alone(site: Site) -> None:
    site.register("jepa-core", {"jepa.hints": {"masking.thing": "jepa_own"}})
    site.add("mine", HEALTHY, "thing")
    assert site.registry().get("thing").summary == "healthy"


def test_the_allow_list_gives_nobody_a_reserved_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.register("jepa-core", RESERVED)
    site.add("jepa-own", HEALTHY, "thing")
    site.add("shadow", HEALTHY, "thing")
    monkeypatch.setenv("JEPA_PLUGINS", "shadow")
    with pytest.raises(PluginConflict, match="reserved for jepa-own"):
        site.registry().get("thing")
    monkeypatch.setenv("JEPA_PLUGINS", "own")
    assert site.registry().get("thing").summary == "healthy"


def test_strict_mode_does_not_let_a_claim_pass(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.register("jepa-core", RESERVED)
    site.add("jepa-own", HEALTHY, "thing")
    site.add("shadow", HEALTHY, "thing")
    monkeypatch.setenv("JEPA_STRICT_PLUGINS", "1")
    with pytest.raises(PluginConflict, match="not taken from shadow"):
        site.registry().get("thing")


@pytest.mark.parametrize(
    ("registry", "plugin", "owner"),
    [
        (objectives, ObjectivePlugin("l2", L2Config, "nowhere:nothing"), "jepa-core"),
        (maskings, Masking("multiblock", L2Config, "nowhere:nothing"), "jepa-image"),
    ],
)
def test_a_notebook_cannot_register_a_reserved_name(registry: Registry[Any], plugin: Any, owner: str) -> None:
    before = registry.entries()
    with pytest.raises(PluginConflict, match=f"'{plugin.name}' is reserved for {owner}, .* under another name$"):
        registry.register(plugin)
    with pytest.raises(PluginConflict), registry.temporarily(plugin):
        pass
    assert registry.entries() == before


def test_a_strangers_hint_does_not_replace_the_core_s_in_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = supply.installed

    def with_bully(group: str) -> list[EntryPoint]:
        return [*real(group), EntryPoint("masking.multiblock", "bully", group)]

    monkeypatch.setattr(supply, "installed", with_bully)
    with pytest.raises(PluginNotFound, match="comes with jepa-image"):
        Registry("masking", "no.such.group", Masking).get("multiblock")


# Imports


def test_what_an_import_prints_goes_to_standard_error(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("noisy", f"{HEALTHY}\n    print('hello from a plugin')", "thing")
    site.registry().get("thing")
    assert capsys.readouterr() == ("", "hello from a plugin\n")


def test_so_does_what_the_import_of_a_factory_prints(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    module = site.add("noisy", "print('building'); build = print", "thing")
    plugin = ObjectivePlugin("thing", L2Config, f"{module}:build")
    plugin.load()
    assert capsys.readouterr() == ("", "building\n")


def test_an_import_that_ends_the_program_is_a_broken_plugin_and_no_end(site: Site) -> None:
    site.add("leaving", "import sys\nsys.exit(3)", "bad")
    site.add("mine", HEALTHY, "thing")
    registry = site.registry()
    with pytest.raises(PluginLoadError, match=r"leaving 1\.0 .* cannot be imported: SystemExit: 3") as caught:
        registry.get("bad")
    assert isinstance(caught.value.__cause__, SystemExit)
    assert registry.get("thing").summary == "healthy"
    assert [entry.state for entry in registry.entries()] == ["broken", "loaded"]


def test_a_panic_of_compiled_code_is_a_broken_plugin_too(site: Site) -> None:
    site.add("rusty", "class PanicException(BaseException): pass\nraise PanicException('index out of bounds')", "bad")
    registry = site.registry()
    with pytest.raises(PluginLoadError, match=r"cannot be imported: PanicException: index out of bounds"):
        registry.get("bad")
    assert registry.entries()[0].state == "broken"


def test_ctrl_c_during_an_import_is_not_the_plugins_fault(site: Site) -> None:
    site.add("slow", "raise KeyboardInterrupt", "thing")
    registry = site.registry()
    with pytest.raises(KeyboardInterrupt):
        registry.get("thing")
    assert registry.entries()[0].state == "available"


@pytest.mark.parametrize(
    ("target", "cause"), [("no_such_module_anywhere:build", "ModuleNotFoundError"), ("json:build", "AttributeError")]
)
def test_a_factory_that_cannot_be_imported_is_an_error_that_names_it(target: str, cause: str) -> None:
    with pytest.raises(PluginLoadError, match=f"^{target} cannot be imported: {cause}: .*package that holds"):
        ObjectivePlugin("thing", L2Config, target).load()


def test_with_json_standard_output_is_json_whenever_a_plugin_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chatty(toy: Toy, config: ToyConfig) -> TokenGrid:
        print("{how many cells?")
        return grid(toy, config)

    grid = Toy.grid
    monkeypatch.setattr(Toy, "grid", chatty)
    file = tmp_path / "toy.yaml"
    file.write_text("modality: {name: toy}")
    with toy_registered():
        plain = CliRunner().invoke(app, ["masks", str(file), "--samples", "20", "--out", str(tmp_path / "masks.png")])
        done = CliRunner().invoke(app, ["masks", str(file), "--samples", "20", "--json"])
        schema = CliRunner().invoke(app, ["config", "schema"])
    assert "{how many cells?" in plain.stdout
    assert json.loads(done.stdout)["masking"] == "random"
    assert "{how many cells?" in done.stderr
    assert json.loads(schema.stdout)["type"] == "object"


# All of them at once, in processes of their own

MARK = "from pathlib import Path\nPath(__file__).with_suffix('.imported').touch()\n"
OBJECTIVE = """
from jepa_core.builtin import L2Config
from jepa_core.plugin import ObjectivePlugin
{name} = ObjectivePlugin("{name}", L2Config, "jepa_core.objectives:L2", "by a stranger", api_version={version})
"""
STRANGERS = {
    "acme-one": ("swirl", OBJECTIVE.format(name="swirl", version=1)),
    "acme-two": ("swirl", OBJECTIVE.format(name="swirl", version=1)),
    "acme-broken": ("cracked", "import a_library_that_is_gone"),
    "acme-future": ("tomorrow", OBJECTIVE.format(name="tomorrow", version=9)),
    "acme-leaving": ("leaving", "import sys\nsys.exit('I am off')"),
    "acme-printing": ("loud", "print('{not json')\n" + OBJECTIVE.format(name="loud", version=1)),
    "acme-slow": ("late", "import time\ntime.sleep(600)"),
    "acme-shadow": ("l2", OBJECTIVE.format(name="l2", version=1)),
}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One package of every kind that makes trouble; each leaves a file when it is imported."""
    site = Site(tmp_path_factory.mktemp("street"))
    for distribution, (name, source) in STRANGERS.items():
        site.add(distribution, MARK + source, name)
    return site


def imported(site: Site) -> list[str]:
    return sorted(path.stem.rsplit("_", 1)[0].replace("_", "-") for path in site.path.glob("*.imported"))


def fresh(site: Site, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in another process, with the street on its path, in which no earlier import left a trace."""
    for trace in site.path.glob("*.imported"):
        trace.unlink()
    path = os.pathsep.join([str(site.path), str(TESTS)])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def states(listing: str) -> dict[tuple[str, str], str]:
    """State by name and first supplier."""
    return {(each["name"], each["provenance"][0]["distribution"]): each["state"] for each in json.loads(listing)}


def test_a_listing_shows_them_all_and_runs_none(street: Site) -> None:
    done = fresh(street, "-m", "jepa_core.cli", "plugins", "list", "--json")
    assert done.returncode == 0, done.stderr
    found = states(done.stdout)
    assert {name: state for (name, supplier), state in found.items() if supplier.startswith("acme")} == {
        "swirl": "conflict",
        "cracked": "available",
        "tomorrow": "available",
        "leaving": "available",
        "loud": "available",
        "late": "available",
        "l2": "conflict",
    }
    assert found["l2", "jepa-core"] == "available"
    assert imported(street) == []


def test_a_listing_that_imports_them_shows_their_states_and_is_still_json(street: Site) -> None:
    all_but_the_slow_one = ",".join(each for each in STRANGERS if each != "acme-slow")
    done = fresh(
        street, "-m", "jepa_core.cli", "plugins", "list", "--load", "--json", JEPA_PLUGINS=all_but_the_slow_one
    )
    assert done.returncode == 0, done.stderr
    found = states(done.stdout)
    assert (found["cracked", "acme-broken"], found["leaving", "acme-leaving"]) == ("broken", "broken")
    assert (found["tomorrow", "acme-future"], found["loud", "acme-printing"]) == ("incompatible", "loaded")
    assert (found["l2", "jepa-core"], found["vit", "jepa-core"]) == ("loaded", "loaded")
    assert "{not json" in done.stderr
    assert imported(street) == ["acme-broken", "acme-future", "acme-leaving", "acme-printing"]


USE = """
import json
from jepa_core.errors import PluginError
from jepa_core.registry import objectives

told = {}
for name in ("swirl", "cracked", "tomorrow", "leaving", "l2", "loud"):
    try:
        told[name] = objectives.get(name).summary
    except PluginError as error:
        told[name] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


def test_using_them_names_both_distributions_or_the_cause_or_the_upgrade(street: Site) -> None:
    done = fresh(street, "-c", USE)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["swirl"].startswith("PluginConflict: objective 'swirl' is supplied by acme-")
    assert all(f"pip uninstall acme-{which}" in told["swirl"] for which in ("one", "two"))
    assert told["cracked"].startswith("PluginLoadError: objective 'cracked': acme-broken 1.0")
    assert "ModuleNotFoundError: No module named 'a_library_that_is_gone'" in told["cracked"]
    assert told["tomorrow"].startswith("PluginIncompatible: objective 'tomorrow': acme-future 1.0")
    assert told["tomorrow"].endswith("Upgrade the core: pip install --upgrade jepa-core")
    assert "SystemExit: I am off" in told["leaving"]
    assert (told["l2"], told["loud"]) == ("squared error", "by a stranger")


def test_training_with_something_else_imports_none_of_them(street: Site, tmp_path: Path) -> None:
    done = fresh(street, str(TESTS / "toy_train.py"), str(tmp_path / "run"), "train.steps=2", "objective.name=l1")
    assert done.returncode == 0, done.stderr
    assert imported(street) == []
    assert "{not json" not in done.stdout + done.stderr
