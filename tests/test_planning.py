from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from toy import toy_config
from typer.testing import CliRunner

from jepa_core import cli
from jepa_core.config import RunConfig
from jepa_core.masking import SampleRandom
from jepa_core.model import Parts
from jepa_core.planning import GIB, Machine, plan
from jepa_core.types import SampleKey

pytestmark = pytest.mark.usefixtures("toy")

SMALL = Machine(devices=2, memory_gib=16, tflops=10, utilisation=0.5)


def blocks_flops(tokens: int, width: int, depth: int, hidden: int) -> int:
    """Matrix products of a transformer, written out: query, key, value and output; the MLP; scores and mixing."""
    return depth * (2 * tokens * (4 * width**2 + 2 * width * hidden) + 4 * tokens**2 * width)


@pytest.mark.parametrize("masking", ["masking.num_targets=1", "masking.num_targets=3"])
def test_flops_equal_the_closed_form(masking: str):
    config = toy_config("modality.cells=6", "masking.ratio=0.5", masking)
    flops, (budget,) = plan(config).flops, Parts.of(config).masking.budgets
    project = 2 * 4 * 32  # a cell of 2 x 2 values to 32 channels
    assert flops.target == 36 * project + blocks_flops(36, 32, 2, 128)
    assert flops.context == budget.context * project + blocks_flops(budget.context, 32, 2, 128)
    sequences = budget.num_targets * blocks_flops(budget.context + budget.target, 16, 1, 64)
    ends = 2 * 32 * 16 * (budget.context + budget.num_targets * budget.target)
    assert flops.predictor == sequences + ends
    assert flops.step == 16 * (flops.target + 3 * (flops.context + flops.predictor))
    assert flops.run == 8 * flops.step


def test_a_target_encoder_that_sees_target_blocks_alone_is_counted_as_such(tmp_path: Path):
    config = toy_config("masking={name: toy_rows, rows: 3}", "target.input=targets")
    planned = plan(config)
    assert planned.flops.target == 3 * (6 * 2 * 4 * 32 + blocks_flops(6, 32, 2, 128))
    assert planned.flops.step == 16 * (planned.flops.target + 3 * (planned.flops.context + planned.flops.predictor))
    file = tmp_path / "toy.yaml"
    file.write_text("modality: {name: toy}\nmasking: {name: toy_rows, rows: 3}\ntarget: {input: targets}\n")
    shown = CliRunner().invoke(cli.app, ["plan", str(file)])
    assert "3 x 6 of 36" in shown.output


def test_targets_with_a_gradient_are_counted_with_their_backward_pass_and_kept_for_it():
    stopped, flowing = (plan(toy_config(f"target.stop_gradient={which}")) for which in ("true", "false"))
    flops = flowing.flops
    assert (flops.target, flops.context) == (stopped.flops.target, stopped.flops.context)
    assert flops.step == 16 * 3 * (flops.target + flops.context + flops.predictor)
    assert flowing.memory.activations > 1.4 * stopped.memory.activations
    assert {moment.momentum for moment in flowing.schedule} == {flowing.half_life_samples} == {0.0}


def test_every_kind_of_positions_can_be_planned():
    plans = [plan(toy_config(f"encoder.positions={kind}")) for kind in ("sincos", "learned", "rope")]
    assert len({planned.flops.run for planned in plans}) == 1
    assert plans[1].parameters.encoder == plans[0].parameters.encoder + 36 * 32


def test_recomputing_activations_costs_one_more_forward_pass():
    flops = plan(toy_config("encoder.activation_checkpointing=true")).flops
    assert flops.step == 16 * (flops.target + 4 * (flops.context + flops.predictor))


def test_parameters_are_those_of_the_model():
    config = toy_config()
    model, size = Parts.of(config).model(), plan(config).parameters
    assert size.encoder == sum(parameter.numel() for parameter in model.encoder.parameters())
    assert size.predictor == sum(parameter.numel() for parameter in model.predictor.parameters())


def test_a_named_size_is_also_counted_as_papers_do():
    null = [f"encoder.{part}=null" for part in ("width", "depth", "heads")]
    size = plan(toy_config("encoder.size=tiny", *null, "predictor.heads=1"))
    assert size.parameters.encoder_as_published == size.parameters.encoder + 192 + 37 * 192 + 193_000
    assert plan(toy_config()).parameters.encoder_as_published is None


def really_kept(config: RunConfig, samples: int) -> int:
    """Bytes that a real forward pass keeps for its backward pass."""
    parts, held = Parts.of(config), dict[int, int]()
    model = parts.model()
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    keys = [SampleKey(0, index) for index in range(samples)]
    views = parts.masking(SampleRandom.of(0, keys))
    signal = torch.randn(samples, *parts.modality.signal_shape(config.modality))
    targets = [torch.randn(*view.targets.shape, 32) for view in views]
    mixed = torch.autocast("cpu", torch.float16, enabled=config.train.precision == "bf16")
    with mixed, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = model(signal, views, targets)  # kept alive, so that no address is used twice
    assert len(loss) == samples
    return sum(held.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_what_a_real_pass_keeps(precision: str):
    config = toy_config(f"train.precision={precision}", "train.batch_size=16", "train.accumulate=2")
    memory = plan(config, SMALL).memory
    assert memory.samples == 4  # 16 over 2 devices and 2 passes
    assert memory.activations == pytest.approx(really_kept(config, 4), rel=0.02)


def test_memory_adds_up():
    config = toy_config()
    size, memory = plan(config).parameters, plan(config).memory
    both = size.encoder + size.predictor
    assert memory.fixed == 4 * (4 * both + size.encoder)  # weights, gradients, two moments; target
    assert memory.total == memory.fixed + memory.activations


def test_recomputation_needs_less_memory():
    plain, thrifty = (
        plan(toy_config("encoder.depth=6", "predictor.depth=6", f"encoder.activation_checkpointing={wanted}")).memory
        for wanted in ("false", "true")
    )
    assert plain.activations_recomputed == thrifty.activations == thrifty.activations_recomputed
    assert thrifty.activations < plain.activations / 2


def test_hours_follow_from_flops_devices_and_utilisation():
    planned = plan(toy_config(), SMALL)
    assert planned.hours == pytest.approx(planned.flops.run / (2 * 10e12 * 0.5) / 3600)


def test_the_schedule_is_shown_where_it_turns():
    lr = '{"value": 1.0, "end": 0.0, "shape": "linear", "warmup": 0.25, "warmup_from": 0.5}'
    moments = plan(toy_config("train.steps=100", f"optim.lr={lr}")).schedule
    assert [(moment.when, moment.step) for moment in moments] == [
        ("start", 0),
        ("warmed up", 25),
        ("half-way", 50),
        ("last update", 99),
    ]
    assert [moment.lr for moment in moments] == pytest.approx([0.5, 1.0, 2 / 3, 1 / 75])


def test_half_life_of_the_target_is_in_samples():
    planned = plan(toy_config("ema.momentum.value=0.5"))
    assert planned.half_life_samples == pytest.approx(16)
    assert plan(toy_config("ema.half_life_samples=1000")).half_life_samples == pytest.approx(1000)
    assert math.isinf(plan(toy_config("ema.momentum.value=1.0")).half_life_samples)


def test_what_does_not_fit_is_met_with_settings_that_make_it_fit():
    config = toy_config("train.batch_size=4096")
    needed = plan(config).memory
    room = Machine(memory_gib=(needed.fixed + needed.activations / 3) / GIB)
    advice = plan(config, room).advice
    accumulate = next(line for line in advice if "accumulate" in line).split()[1].removeprefix("train.accumulate=")
    again = plan(toy_config("train.batch_size=4096", f"train.accumulate={accumulate}"), room)
    assert again.advice == ()
    assert int(accumulate) == 4  # a third would do, but 4096 does not divide by 3
    assert "shard" in plan(config, Machine(memory_gib=needed.fixed / GIB / 2)).advice[0]


def test_the_command_prints_tables_or_json(tmp_path: Path):
    file = tmp_path / "toy.yaml"
    file.write_text("modality: {name: toy}\n")
    shown = CliRunner().invoke(cli.app, ["plan", str(file), "--set", "train.steps=50", "--devices", "4"])
    assert shown.exit_code == 0, shown.output
    for words in ("36 (6 x 6 (rows, columns))", "4 x 312 TFLOPS", "fits into 80", "last update", "50 steps"):
        assert words in shown.output
    told = json.loads(CliRunner().invoke(cli.app, ["plan", str(file), "--json"]).output)
    assert told["tokens"] == 36
    assert told["memory"]["total"] == told["memory"]["fixed"] + told["memory"]["activations"]
