"""Parameter-efficient methods: what trains, how much of it, no-ops at the start, the same predictions after merging."""

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import set_seed

from molft_utils import CheckpointError, MolftError, SettingsError, finetune, load_model, predict, settings
from molft_utils.influence import influence_scores, trained_parameters
from molft_utils.molformer import FeatureMap, MolformerConfig, MolformerForSequenceClassification
from molft_utils.peft_methods import (
    apply_method,
    expected_parameters,
    load_adapter,
    merged,
    save_adapter,
    trainable,
)
from molft_utils.settings import EVERY_METHOD
from molft_utils.training.trainer import Progress

SMILES = [f"{'C' * i}{tail}" for i in range(1, 9) for tail in ("O", "N", "Cl", "c1ccccc1")]
TABLE = pd.DataFrame({"smiles": SMILES, "label": [0.5 * s.count("C") - 2 * s.count("O") for s in SMILES]})
PEFT = ("lora", "ia3", "lora-all")

#: What should have a gradient, besides the head.
TRAINS = {
    "full": lambda name: True,
    "bitfit": lambda name: name.endswith(".bias"),
    "lora": lambda name: "lora_" in name and ".key." not in name,
    "lora-all": lambda name: "lora_" in name,
    "ia3": lambda name: "ia3_l" in name,
}


@pytest.fixture
def cfg():
    return settings("smoke", epochs=2, lora_dropout=0.1)


def batch():
    return {
        "input_ids": torch.tensor([[0, 4, 4, 5, 1]]),
        "attention_mask": torch.ones(1, 5),
        "labels": torch.tensor([1.0]),
    }


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_counts_equal_the_closed_form_for_mini_and_the_published_size(method, cfg):
    mini = apply_method(load_model("mini"), method, cfg)
    assert trainable(mini)[0] == expected_parameters(mini.config, method, cfg)
    with torch.device("meta"):
        published = MolformerForSequenceClassification(MolformerConfig(classifier_head="linear", num_labels=1))
    published = apply_method(published, method, cfg)
    assert trainable(published)[0] == expected_parameters(published.config, method, cfg)


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_only_what_should_train_has_a_gradient(method, cfg):
    model = apply_method(load_model("mini"), method, cfg).train()
    model(**batch()).loss.backward()
    for name, p in model.named_parameters():
        head = "classifier" in name and "original_module" not in name
        assert (p.grad is not None) == (head or ("classifier" not in name and TRAINS[method](name))), name
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("method", PEFT)
def test_adapters_change_nothing_at_the_start(method, cfg):
    model = load_model("mini")
    before = predict(model, SMILES)
    assert np.array_equal(predict(apply_method(model, method, cfg), SMILES), before)


def test_targets_are_the_intended_layers(cfg):
    touched = {
        m: {n for n, _ in apply_method(load_model("mini"), m, cfg).named_parameters() if "lora_" in n or "ia3_l" in n}
        for m in PEFT
    }
    assert len(touched["lora"]) == 4 * 2 * 2 and len(touched["lora-all"]) == 4 * 6 * 2 and len(touched["ia3"]) == 4 * 3
    assert not any("attention.output" in name or "intermediate" in name for name in touched["ia3"])
    # The factor of the feed-forward is one for each inner activation: it acts on the input of the second layer.
    model = apply_method(load_model("mini"), "ia3", cfg)
    factors = {name: p.numel() for name, p in model.named_parameters() if "ia3_l" in name and ".layer.0." in name}
    assert {name.split(".layer.0.")[1].split(".ia3_l")[0]: size for name, size in factors.items()} == {
        "attention.self.key": 128,
        "attention.self.value": 128,
        "output.dense": 256,
    }


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_trains_and_merges_to_the_same_predictions(method, cfg):
    model = apply_method(load_model("mini"), method, cfg)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    rate = {"full": 1e-3}.get(method, 1e-2)
    fit = finetune(model, TABLE, TABLE, cfg.replace(learning_rate=rate, epochs=4))
    assert fit.history["validation_loss"].iloc[-1] < fit.history["validation_loss"].iloc[0]
    for name, p in fit.model.named_parameters():
        if name in frozen and "original_module" not in name:
            assert torch.equal(p, frozen[name]), name
    before = predict(fit.model, SMILES)
    plain = merged(fit.model)
    assert isinstance(plain, MolformerForSequenceClassification)
    assert np.allclose(predict(plain, SMILES), before, atol=1e-5)


ADAPTED = ("bitfit", *PEFT)


@pytest.fixture(scope="module")
def adapted(request, tmp_path_factory):
    """A model that a method trained from another Omega than the checkpoint's, saved as an adapter."""
    cfg = settings("smoke", epochs=1, learning_rate=1e-2)
    model = load_model("mini", redraw_in_training=True)
    for module in model.modules():
        if isinstance(module, FeatureMap):
            module.draw()
    fit = finetune(apply_method(model, request.param, cfg), TABLE, TABLE, cfg)
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(fit.model, folder)
    return fit.model, folder


@pytest.mark.parametrize("adapted", ADAPTED, indirect=True)
def test_a_saved_adapter_comes_back_with_its_omega_and_the_labels_unit(adapted):
    model, folder = adapted
    again = load_adapter(load_model("mini"), folder)
    assert np.allclose(predict(again, SMILES), predict(model, SMILES), atol=1e-6)
    assert again.config.label_mean == pytest.approx(TABLE["label"].mean()) and again.config.canonical_smiles
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 300_000
    with pytest.raises(CheckpointError, match="another checkpoint or head"):
        load_adapter(load_model("mini-descriptors"), folder)
    with pytest.raises(CheckpointError, match="another checkpoint or head"):
        load_adapter(load_model("mini", head="published"), folder)


@pytest.mark.parametrize("adapted", PEFT, indirect=True)
def test_an_adapter_without_its_omega_and_the_labels_unit_is_refused(adapted, tmp_path):
    fitted, folder = adapted
    for model in (fitted, load_adapter(load_model("mini"), folder)):
        model.save_pretrained(tmp_path)  # peft's own
        with pytest.raises(ValueError, match="save_adapter"):
            PeftModel.from_pretrained(load_model("mini"), tmp_path)
    with pytest.raises(CheckpointError, match="save_adapter"):
        load_adapter(load_model("mini"), tmp_path)


def test_a_model_whose_parameters_all_train_is_no_adapter(tmp_path):
    with pytest.raises(CheckpointError, match="all parameters of this model train"):
        save_adapter(load_model("mini"), tmp_path)


@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_all_parameters_of_a_merged_model_train(method, cfg):
    plain = merged(apply_method(load_model("mini"), method, cfg))
    everything = sum(p.numel() for p in plain.parameters())
    assert sum(p.numel() for p in trained_parameters(plain).values()) == everything
    assert trainable(apply_method(plain, "full", cfg)) == (everything, everything)
    before = {name: p.clone() for name, p in plain.named_parameters()}
    fit = finetune(plain, TABLE, None, cfg.replace(epochs=1, warmup=0.0))
    assert not [name for name, p in fit.model.named_parameters() if torch.equal(p, before[name])]
    frozen = apply_method(load_model("mini"), "bitfit", cfg)
    assert trainable(apply_method(frozen, "full", cfg))[0] == everything


def test_omega_stays_while_an_adapter_trains(cfg):
    model = apply_method(load_model("mini", redraw_in_training=True), "lora", cfg).train()
    before = [m.weight.clone() for m in model.modules() if isinstance(m, FeatureMap)]
    model(**batch())
    after = [m.weight for m in model.modules() if isinstance(m, FeatureMap)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


class Stop(Exception):
    pass


@pytest.mark.parametrize("method", ["lora-all", "ia3"])
def test_an_interrupted_adapter_training_goes_on(method, cfg, tmp_path, monkeypatch):
    cfg = cfg.replace(learning_rate=1e-2, epochs=3)

    def fit(folder):
        set_seed(0)
        model = apply_method(load_model("mini"), method, cfg.replace(lora_dropout=0.0))
        return finetune(model, TABLE, TABLE, cfg, tmp_path / folder)

    def stop_in_the_second_epoch(self, args, state, control, **kwargs):
        if state.epoch > 1.5:
            raise Stop

    whole = fit("whole")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Progress, "on_evaluate", stop_in_the_second_epoch)
        fit("cut")
    resumed = fit("cut")
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    assert np.allclose(predict(whole.model, SMILES), predict(resumed.model, SMILES), atol=1e-5)


def test_influence_scores_work_on_a_lora_model(cfg):
    model = apply_method(load_model("mini"), "lora", cfg)
    fit = finetune(model, TABLE, TABLE, cfg.replace(learning_rate=1e-2, epochs=1))
    found = influence_scores(fit.model, TABLE, TABLE.head(8), TABLE.tail(8), cfg.replace(influence_damping=50.0))
    assert found.scores.isfinite().all()
    assert len(found.direction.direction) == 4 * 2 * 2 + 2


def test_learning_rates_are_the_methods_own():
    assert settings("class").of_method("full").learning_rate == settings("class").learning_rate
    assert {settings("report").of_method(m).learning_rate for m in EVERY_METHOD} == {1e-7}
    assert settings("best").of_method("bitfit").learning_rate == 4e-4


def test_unknown_methods_are_refused(cfg):
    with pytest.raises(SettingsError, match="choose one of full, bitfit, lora, ia3"):
        apply_method(load_model("mini"), "prompt", cfg)


def test_an_old_torchao_gets_a_readable_error(cfg, monkeypatch):
    def refuse(*args, **kwargs):
        raise ImportError("Found an incompatible version of torchao: 0.10.0")

    monkeypatch.setattr("molft_utils.peft_methods.get_peft_model", refuse)
    with pytest.raises(MolftError, match="pip uninstall --yes torchao"):
        apply_method(load_model("mini"), "lora", cfg)


@pytest.mark.parametrize("flag", [{"use_rslora": True}, {"use_dora": True}, {"init_lora_weights": "pissa"}])
def test_the_relatives_of_lora_that_notebook_6_names_fit_on_molformer(flag, cfg):
    model = load_model("mini")
    before = predict(model, SMILES)
    config = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", exclude_modules=r"classifier\..*", **flag)
    adapted = get_peft_model(model, config).eval()
    assert np.allclose(predict(adapted, SMILES), before, atol=1e-4)  # PiSSA splits W in two: the same but for rounding
