"""Parameter-efficient methods: what trains, how much of it, no-ops at the start, the same predictions after merging."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import set_seed

from molft_utils import CheckpointError, MolftError, SettingsError, finetune, load_model, predict, settings
from molft_utils.influence import trained_parameters
from molft_utils.molformer import FeatureMap, MolformerConfig, MolformerForSequenceClassification
from molft_utils.peft_methods import LORA_LAYERS, apply_method, load_adapter, merged, save_adapter, trainable
from molft_utils.settings import EVERY_METHOD
from molft_utils.training.trainer import Progress

SMILES = [f"{'C' * i}{tail}" for i in range(1, 9) for tail in ("O", "N", "Cl", "c1ccccc1")]
TABLE = pd.DataFrame({"smiles": SMILES, "label": [0.5 * s.count("C") - 2 * s.count("O") for s in SMILES]})
PEFT = (*LORA_LAYERS, "ia3")

#: A pattern of the names of what should have a gradient, besides the head.
TRAINS = {
    "full": r".",
    "bitfit": r"\.bias$",
    "lora": r"attention\.self\.(query|value)\.lora_",
    "lora-all": r"\.lora_",
    "ia3": r"(attention\.self\.(key|value)|layer\.\d\.output\.dense)\.ia3_l",
}


@pytest.fixture
def cfg():
    return settings("smoke", epochs=2, lora_dropout=0.1)


def omegas(model):
    return torch.stack([module.weight for module in model.modules() if isinstance(module, FeatureMap)])


def expected_parameters(config, method, settings):
    """Number of trained parameters in closed form, for a linear head.

    D is the hidden size, I the inner size of the feed-forward, N the number of layers; the head has D + 1 parameters.
    BitFit trains N (7 D + I) + D: the biases of query, key, value, two outputs and two LayerNorms, of the inner layer,
    and of the last LayerNorm. LoRA trains N * 2 * r * 2 D, on all linear layers N r (4 * 2 D + 2 (D + I)), and (IA)^3
    N (2 D + I).
    """
    d, inner, n = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    layer = 4 * (d * d + d) + (d * inner + inner) + (inner * d + d) + 4 * d
    encoder = {
        "full": config.vocab_size * d + n * layer + 2 * d,
        "bitfit": n * (7 * d + inner) + d,
        "lora": n * 2 * settings.lora_rank * 2 * d,
        "lora-all": n * settings.lora_rank * (4 * 2 * d + 2 * (d + inner)),
        "ia3": n * (2 * d + inner),
    }
    return encoder[method] + d + 1


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_counts_equal_the_closed_form_for_mini_and_the_published_size(method, cfg):
    mini = apply_method(load_model("mini"), method, cfg)
    assert trainable(mini)[0] == expected_parameters(mini.config, method, cfg)
    with torch.device("meta"):
        published = MolformerForSequenceClassification(MolformerConfig(classifier_head="linear", num_labels=1))
    published = apply_method(published, method, cfg)
    assert trainable(published)[0] == expected_parameters(published.config, method, cfg)


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_model_starts_as_the_checkpoint_and_only_what_should_train_has_a_gradient(method, cfg):
    plain = load_model("mini", redraw_in_training=True)
    before, omega = predict(plain, SMILES), omegas(plain)
    model = apply_method(plain, method, cfg)
    assert np.array_equal(predict(model, SMILES), before)
    ids = torch.tensor([[0, 4, 4, 5, 1]])
    model.train()(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.ones(1)).loss.backward()
    for name, p in model.named_parameters():
        head = "classifier" in name and "original_module" not in name
        assert (p.grad is not None) == (head or ("classifier" not in name and bool(re.search(TRAINS[method], name)))), (
            name
        )
    assert torch.equal(omegas(model), omega) == (method in PEFT), "an adapter fits the Omega that it is trained with"


@pytest.fixture(scope="module")
def fitted(request, tmp_path_factory):
    """What a method trained from another Omega than the checkpoint's, and the folder in which it was saved."""
    cfg = settings("smoke", epochs=3, learning_rate=1e-2)
    model = load_model("mini", redraw_in_training=True)
    for module in model.modules():
        if isinstance(module, FeatureMap):
            module.draw()
    fit = finetune(apply_method(model, request.param, cfg), TABLE, TABLE, cfg)
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(fit.model, folder)
    return fit, folder


@pytest.mark.parametrize("fitted", ("bitfit", *PEFT), indirect=True)
def test_an_adapter_learns_and_comes_back_with_its_omega_and_the_labels_unit(fitted):
    fit, folder = fitted
    assert fit.history["validation_loss"].iloc[-1] < fit.history["validation_loss"].iloc[0]
    again = load_adapter(load_model("mini"), folder)
    assert np.allclose(predict(again, SMILES), predict(fit.model, SMILES), atol=1e-6)
    assert again.config.label_mean == pytest.approx(TABLE["label"].mean()) and again.config.canonical_smiles
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 300_000
    plain = merged(again)
    assert isinstance(plain, MolformerForSequenceClassification)
    assert np.allclose(predict(plain, SMILES), predict(fit.model, SMILES), atol=1e-5)
    for other in (load_model("mini-descriptors"), load_model("mini", head="published")):
        with pytest.raises(CheckpointError, match="another checkpoint or head"):
            load_adapter(other, folder)


@pytest.mark.parametrize("fitted", PEFT, indirect=True)
def test_an_adapter_without_its_omega_and_the_labels_unit_is_refused(fitted, tmp_path):
    fit, folder = fitted
    for model in (fit.model, load_adapter(load_model("mini"), folder)):
        model.save_pretrained(tmp_path)  # peft's own
        with pytest.raises(ValueError, match="save_adapter"):
            PeftModel.from_pretrained(load_model("mini"), tmp_path)
    with pytest.raises(CheckpointError, match="save_adapter"):
        load_adapter(load_model("mini"), tmp_path)


@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_all_parameters_of_a_merged_model_train(method, cfg):
    plain = merged(apply_method(load_model("mini"), method, cfg))
    everything = sum(p.numel() for p in plain.parameters())
    assert sum(p.numel() for p in trained_parameters(plain).values()) == everything
    assert trainable(apply_method(plain, "full", cfg)) == (everything, everything)
    before = {name: p.clone() for name, p in plain.named_parameters()}
    fit = finetune(plain, TABLE, None, cfg.replace(epochs=1, warmup=0.0))
    assert not [name for name, p in fit.model.named_parameters() if torch.equal(p, before[name])]


def test_an_interrupted_adapter_training_goes_on(cfg, tmp_path, monkeypatch):
    cfg = cfg.replace(learning_rate=1e-2, lora_dropout=0.0)

    def fit(folder):
        set_seed(0)
        return finetune(apply_method(load_model("mini"), "lora-all", cfg), TABLE, TABLE, cfg, tmp_path / folder)

    def stop_in_the_second_epoch(self, args, state, control, **kwargs):
        if state.epoch > 1.5:
            raise InterruptedError

    whole = fit("whole")
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Progress, "on_evaluate", stop_in_the_second_epoch)
        fit("cut")
    resumed = fit("cut")
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    assert np.allclose(predict(whole.model, SMILES), predict(resumed.model, SMILES), atol=1e-5)


def test_what_cannot_be_applied_or_saved_is_refused(cfg, tmp_path):
    with pytest.raises(SettingsError, match="choose one of full, bitfit, lora, ia3"):
        apply_method(load_model("mini"), "prompt", cfg)
    with pytest.raises(CheckpointError, match="all parameters of this model train"):
        save_adapter(load_model("mini"), tmp_path)


def test_an_old_torchao_gets_a_readable_error(cfg, monkeypatch):
    def refuse(*args, **kwargs):
        raise ImportError("Found an incompatible version of torchao: 0.10.0")

    monkeypatch.setattr("molft_utils.peft_methods.get_peft_model", refuse)
    with pytest.raises(MolftError, match="pip uninstall --yes torchao"):
        apply_method(load_model("mini"), "lora", cfg)
