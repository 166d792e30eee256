"""Predictions and pooled vectors: of every kind of model, in the order of the molecules, the model left as it was."""

import numpy as np
import pytest
import torch

from molft_utils import DataError, load_model, predict, settings
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification, MolformerModel
from molft_utils.peft_methods import apply_method
from molft_utils.training import attention, embed, fill_mask, masked_scores
from molft_utils.training.inference import evaluating


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


def test_attention_weights_sum_to_one_and_leave_no_hook_behind(model):
    tokens, weights = attention(model.eval(), "CCO")
    assert tokens == ["<bos>", "C", "C", "O", "<eos>"]
    np.testing.assert_allclose(weights.sum(axis=1), np.ones(5), atol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_what_predicts_no_logd_is_refused(model, tiny):
    for other in (MolformerModel(tiny), MolformerForMaskedLM(tiny)):
        with pytest.raises(DataError, match=rf"a {type(other).__name__} .* predicts no logD"):
            predict(other, ["CCO"])
    for function in (predict, embed):
        with pytest.raises(DataError, match="there are no SMILES"):
            function(model, [])
    tiny.num_labels = 2
    with pytest.raises(DataError, match="with 2 labels predicts no logD"):
        predict(MolformerForSequenceClassification(tiny), ["CCO"])


@pytest.mark.parametrize("kind", [MolformerForSequenceClassification, MolformerForMaskedLM])
def test_a_model_is_evaluated_without_dropout_and_stays_in_its_mode(kind, tiny):
    works = {
        MolformerForSequenceClassification: [lambda m: predict(m, ["CCO", "C"]), lambda m: embed(m, ["CCO", "C"])],
        MolformerForMaskedLM: [lambda m: masked_scores(m, ["CCCCCO"] * 9), lambda m: fill_mask(m, "CCO", 1)],
    }
    model = kind(tiny).train()
    model.molformer.embeddings.eval()  # a part that was put into another mode by hand
    modes = [module.training for module in model.modules()]
    for work in works[kind]:
        assert str(work(model)) == str(work(model))
        assert [module.training for module in model.modules()] == modes
    with pytest.raises(RuntimeError, match="no memory"), evaluating(model):
        raise RuntimeError("no memory")
    assert [module.training for module in model.modules()] == modes


def test_numbers_leave_the_device_before_they_become_float64(model, monkeypatch):
    """Apple's GPUs have no float64: on them ``double`` before ``cpu`` is an error."""
    calls = []
    for name in ("cpu", "double"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, n=name, o=original: calls.append(n) or o(self))
    predict(model, ["CCO", "C"])
    assert calls[-2:] == ["cpu", "double"]
