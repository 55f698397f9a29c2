"""The training loop: a run that was stopped and resumed is the run that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codi.training.loop import FitConfig, built_once, fit
from tests.training import shared_stage

CONFIG = FitConfig(steps=6, batch=4, lr=1e-2, warmup=1, save_seconds=0, log_every=1)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("CODI_RUNS", str(tmp_path))
    return tmp_path


def model_and_loss():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(rng: np.random.Generator, batch: int) -> dict[str, torch.Tensor]:
        inputs = torch.from_numpy(rng.normal(size=(batch, 3))).float()
        noise = 0.1 * torch.randn(batch, 1)  # torch's own generator must resume too
        return {"loss": (model(inputs) - inputs.sum(1, keepdim=True) + noise).square().mean()}

    return model, loss


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_used_where_the_device_has_it_alone(has, monkeypatch):
    monkeypatch.setattr("codi.training.loop.has_bf16", lambda device: has)
    model, loss = model_and_loss()
    used = []

    def watched(rng: np.random.Generator, batch: int) -> dict[str, torch.Tensor]:
        used.append(torch.is_autocast_enabled("cpu"))
        return loss(rng, batch)

    fit("bf16", model, watched, replace(CONFIG, steps=1, bf16=True))
    assert used == [has]


def test_a_resumed_run_equals_an_uninterrupted_one():
    model, loss = model_and_loss()
    fit("whole", model, loss, CONFIG)
    whole = model.weight.clone()

    model, loss = model_and_loss()
    calls = 0

    def interrupted(rng: np.random.Generator, batch: int) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return loss(rng, batch)

    with pytest.raises(KeyboardInterrupt):
        fit("parts", model, interrupted, CONFIG)
    model, loss = model_and_loss()
    fit("parts", model, loss, CONFIG)
    assert torch.equal(whole, model.weight)


def test_the_loss_falls_and_is_logged(runs):
    model, loss = model_and_loss()
    fit("long", model, loss, replace(CONFIG, steps=200, lr=5e-2, ema=0.5, save_seconds=1e9), lambda: {"ok": 1.0})
    rows = [json.loads(line) for line in (runs / "long" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["validation"] == {"ok": 1.0}
    assert rows[-2]["loss"] < 0.1 * rows[0]["loss"]


def test_a_run_stops_when_its_hours_are_spent():
    model, loss = model_and_loss()
    folder = fit("short", model, loss, replace(CONFIG, hours=0.0))
    assert json.loads((folder / "log.jsonl").read_text().splitlines()[0])["step"] == 1
    assert (folder / "state").exists()


def test_frozen_parameters_stay():
    model, loss = model_and_loss()
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    fit("frozen", model, loss, CONFIG)
    assert torch.equal(before, model.bias)


def test_processes_that_share_a_stage_draw_their_own_data_and_keep_the_same_weights(runs):
    script = Path(__file__).with_name("shared_stage.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*launch, script, runs], check=True, capture_output=True, timeout=120)
    first, second = (torch.load(runs / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert set(first["draws"]).isdisjoint(second["draws"])
    begun = shared_stage.modules().state_dict()
    moved = begun["2.weight"] - first["weights"]["2.weight"]
    assert torch.equal(moved.sign(), shared_stage.slope().sign())  # each weight by its own gradient, however it lies
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name])
        assert not torch.equal(weight, begun[name])  # also of the module that one of them left out
    steps = [json.loads(line)["step"] for line in (runs / "shared" / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]


def test_a_rate_is_that_of_the_parameters_whose_names_begin_so():
    moved = {}
    for rates in ({}, {"bias": 0.1}):
        model, loss = model_and_loss()
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        fit(f"rates-{len(rates)}", model, loss, replace(CONFIG, steps=1, warmup=0, rates=rates, ema=0.0))
        moved[len(rates)] = {name: value - before[name] for name, value in model.named_parameters()}
    assert moved[0]["bias"].abs() > 0
    assert torch.allclose(moved[1]["bias"], 0.1 * moved[0]["bias"], rtol=1e-2)
    assert torch.equal(moved[1]["weight"], moved[0]["weight"])


def test_a_bank_that_two_processes_build_is_never_written_over(runs):
    """The first has mapped its file when the second, which saw none, has built the same."""
    path = runs / "bank.pt"
    mapped = {}

    def build(value: float) -> dict[str, torch.Tensor]:
        return {"rows": torch.full((1000,), value)}

    def slow() -> dict[str, torch.Tensor]:
        mapped.update(built_once(path, lambda: build(1.0)))
        return build(2.0)

    second = built_once(path, slow)
    assert mapped["rows"].eq(1.0).all() and second["rows"].eq(2.0).all()
    assert built_once(path, lambda: pytest.fail("built again"))["rows"].eq(2.0).all()
    assert [p.name for p in runs.iterdir()] == ["bank.pt"]


def test_a_bank_that_was_cut_short_leaves_nothing_that_passes_for_one(runs):
    def stopped() -> dict[str, torch.Tensor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built_once(runs / "bank.pt", stopped)
    assert built_once(runs / "bank.pt", lambda: {"rows": torch.ones(3)})["rows"].sum() == 3
