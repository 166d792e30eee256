"""Predictions and pooled vectors: of every kind of model, in the order of the molecules, the model left as it was."""

import numpy as np
import pytest
import torch

from molft_utils import DataError, load_model, predict, settings
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification, MolformerModel
from molft_utils.peft_methods import apply_method
from molft_utils.training import attention, embed


def test_predictions_do_not_depend_on_order_batch_or_notation(model, smiles):
    model.eval().config.canonical_smiles = True
    all_at_once = predict(model, smiles)
    np.testing.assert_allclose(predict(model, smiles, batch_size=1), all_at_once, atol=1e-5)
    np.testing.assert_allclose(predict(model, smiles[::-1])[::-1], all_at_once, atol=1e-5)
    np.testing.assert_allclose(predict(model, ["OCC"]), predict(model, ["CCO"]), atol=1e-6)


def test_every_kind_of_model_gives_the_pooled_vectors_of_its_encoder(smiles):
    regression, lm, encoder = (load_model("mini", task=task) for task in ("regression", "mlm", "encoder"))
    vectors = embed(encoder, smiles)
    assert vectors.shape == (len(smiles), encoder.config.hidden_size) and vectors.dtype == np.float64
    assert np.array_equal(embed(lm, smiles), vectors) and np.array_equal(embed(regression, smiles), vectors)
    wrapped = apply_method(regression, "lora", settings("smoke"))
    assert np.allclose(embed(wrapped, smiles), vectors, atol=1e-6)  # an adapter adds nothing at the start


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own call
def test_an_encoder_wrapped_by_peft_gives_its_own_vectors(tiny, smiles):
    from peft import LoraConfig, get_peft_model

    encoder = MolformerModel(tiny)
    before = embed(encoder, smiles)
    wrapped = get_peft_model(encoder, LoraConfig(target_modules=["query"], init_lora_weights=False))
    assert embed(wrapped, smiles).shape == before.shape and not np.allclose(embed(wrapped, smiles), before)


def test_attention_weights_sum_to_one_and_leave_no_hook_behind(model):
    tokens, weights = attention(model.eval(), "CCO")
    assert tokens == ["<bos>", "C", "C", "O", "<eos>"]
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(5), atol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", [MolformerModel, MolformerForMaskedLM])
def test_a_model_without_a_regression_head_predicts_nothing(tiny, kind):
    with pytest.raises(DataError, match=rf"a {kind.__name__} .* predicts no logD; load the model with task='regre"):
        predict(kind(tiny), ["CCO"])


def test_a_model_of_two_labels_predicts_no_logd(tiny):
    tiny.num_labels = 2
    with pytest.raises(DataError, match="with 2 labels predicts no logD"):
        predict(MolformerForSequenceClassification(tiny), ["CCO"])


@pytest.mark.parametrize("function", [predict, embed])
def test_no_smiles_are_refused(model, function):
    with pytest.raises(DataError, match="there are no SMILES; give at least one"):
        function(model, [])


@pytest.mark.parametrize("function", [predict, embed])
def test_a_model_stays_in_its_mode_and_is_evaluated_without_dropout(model, function, smiles):
    model.train()
    model.molformer.embeddings.eval()  # a part that was put into another mode by hand
    modes = [module.training for module in model.modules()]
    assert np.array_equal(function(model, smiles), function(model, smiles))
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("function", [predict, embed])
def test_numbers_leave_the_device_before_they_become_float64(model, monkeypatch, function):
    """Apple's GPUs have no float64: on them ``double`` before ``cpu`` is an error."""
    calls = []
    for name in ("cpu", "double"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, _n=name, _o=original, **k: calls.append(_n) or _o(self, *a, **k)
        )
    function(model, ["CCO", "C"])
    assert calls[-2:] == ["cpu", "double"]
