"""The conformance kit is tested: for every check there is a plugin that breaks its promise and keeps all others."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import encoder_twins
import masking_twins
import objective_twins
import probe_twins
import pytest
from kit import KINDS, failures, not_applicable, outcomes, states

from jepa_core.registry import REGISTRIES
from jepa_core.supply import Kind
from jepa_core.testing import checks_for
from jepa_core.testing.checks import checks_in

MODULES: dict[Kind, ModuleType] = {
    "masking": masking_twins,
    "objective": objective_twins,
    "encoder": encoder_twins,
    "probe": probe_twins,
}
CHECKED = {
    "masking": ["limited", "random"],
    "objective": ["l1", "l2", "smooth_l1"],
    "encoder": ["vit"],
    "probe": ["attentive", "knn", "linear"],
}
"""By kind, what tests/test_testing_KIND.py puts through all checks."""


@pytest.mark.parametrize("kind", MODULES)
def test_every_check_has_a_wrong_twin(kind: Kind) -> None:
    common = [check.name for check in checks_in(import_module("jepa_core.testing.common"), kind)]
    assert [*common, *MODULES[kind].TWINS] == [check.name for check in checks_for(kind)]
    assert set(MODULES[kind].SILENCED) <= set(MODULES[kind].TWINS)
    assert set(KINDS.values()) == set(MODULES)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, each in MODULES.items() for name in each.TWINS])
def test_a_wrong_twin_fails_its_check_and_no_other(kind: Kind, name: str) -> None:
    factory, cause = MODULES[kind].TWINS[name]
    found = outcomes(MODULES[kind].twin(factory))
    failed = failures(found)
    assert list(failed) == [name], failed
    assert cause in failed[name]
    assert not_applicable(found) == set(MODULES[kind].SILENCED.get(name, ()))


@pytest.mark.parametrize("kind", MODULES)
def test_what_the_twins_derive_from_passes_everything(kind: Kind) -> None:
    module = MODULES[kind]
    assert states(outcomes(module.twin(module.Right))) == {"pass"}


@pytest.mark.parametrize("kind", MODULES)
def test_no_plugin_of_the_core_goes_unchecked(kind: Kind) -> None:
    registry = REGISTRIES[kind]
    own = [name for name in registry.names() if registry.suppliers(name)[0].distribution == "jepa-core"]
    assert sorted(own) == CHECKED[kind]
