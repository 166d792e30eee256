"""What training costs, counted against closed forms."""

import pandas as pd
import pytest
import torch

from molft_utils import load_model, settings
from molft_utils.experiments import optimiser_bytes, saved_bytes
from molft_utils.experiments.costs import seconds_per_step
from molft_utils.molformer import FeatureMap
from molft_utils.peft_methods import apply_method, trainable
from molft_utils.settings import EVERY_METHOD


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_gradients_and_moments_take_twelve_bytes_per_trained_parameter(method):
    model = apply_method(load_model("mini"), method, settings("smoke"))
    before = [p.clone() for p in model.parameters()]
    assert optimiser_bytes(model) == 12 * trainable(model)[0]
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_an_adapter_is_a_small_file(capfd):
    cfg = settings("smoke")
    whole = saved_bytes(load_model("mini"))
    assert whole > 4 * trainable(load_model("mini"))[1]
    for method in sorted(set(EVERY_METHOD) - {"full"}):
        model = apply_method(load_model("mini"), method, cfg)
        assert 4 * trainable(model)[0] < saved_bytes(model) < whole / 20
    assert not capfd.readouterr().err


def test_no_method_draws_omega_while_its_steps_are_timed(monkeypatch):
    seen, original = [], torch.nn.Module.train

    def watch(module, mode=True):
        seen.extend(m.redraw_in_training for m in module.modules() if mode and isinstance(m, FeatureMap))
        return original(module, mode)

    monkeypatch.setattr(
        "molft_utils.experiments.costs.load_model", lambda *a, **k: load_model("mini", redraw_in_training=True)
    )
    monkeypatch.setattr(torch.nn.Module, "train", watch)
    cfg = settings("smoke")
    table = pd.DataFrame({"smiles": ["CCO", "CCN"], "label": [0.0, 1.0]})
    seconds = seconds_per_step({method: (method, cfg) for method in ("full", "lora")}, table, repeats=2)
    assert list(seconds.index) == ["full", "lora"] and (seconds > 0).all()
    assert seen and not any(seen)
