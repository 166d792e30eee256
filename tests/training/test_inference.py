"""Predictions and pooled vectors: of every kind of model, in the order of the molecules, the model left as it was."""

import numpy as np
import pytest
import torch
from transformers import set_seed

from molft_utils import DataError, load_model, predict, settings
from molft_utils.data import randomised
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification, MolformerModel
from molft_utils.peft_methods import apply_method
from molft_utils.training import embed

SMILES = [f"{'C' * i}{tail}" for i in range(1, 13) for tail in ("O", "N", "Cl", "F", "c1ccccc1")]


@pytest.fixture
def model(tiny):
    set_seed(0)
    tiny.redraw_in_training = False
    tiny.problem_type = "regression"
    return MolformerForSequenceClassification(tiny)


def test_predictions_do_not_depend_on_order_batch_or_notation(model):
    model.eval().config.canonical_smiles = True
    all_at_once = predict(model, SMILES)
    np.testing.assert_allclose(predict(model, SMILES, batch_size=1), all_at_once, atol=1e-5)
    np.testing.assert_allclose(predict(model, SMILES[::-1])[::-1], all_at_once, atol=1e-5)
    np.testing.assert_allclose(predict(model, ["OCC"]), predict(model, ["CCO"]), atol=1e-6)


def test_predictions_average_over_random_smiles(model):
    model.eval()
    single = np.mean(
        [predict(model, SMILES), *(predict(model, [randomised(s, k) for s in SMILES]) for k in range(2))], axis=0
    )
    np.testing.assert_allclose(predict(model, SMILES, n_random=2), single, atol=1e-5)


def test_every_kind_of_model_gives_the_pooled_vectors_of_its_encoder():
    regression, lm, encoder = (load_model("mini", task=task) for task in ("regression", "mlm", "encoder"))
    vectors = embed(encoder, SMILES)
    assert vectors.shape == (len(SMILES), encoder.config.hidden_size) and vectors.dtype == np.float64
    assert np.array_equal(embed(lm, SMILES), vectors) and np.array_equal(embed(regression, SMILES), vectors)
    wrapped = apply_method(regression, "lora", settings("smoke"))
    assert np.allclose(embed(wrapped, SMILES), vectors, atol=1e-6)  # an adapter adds nothing at the start


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own call
def test_an_encoder_wrapped_by_peft_gives_its_own_vectors(tiny):
    from peft import LoraConfig, get_peft_model

    encoder = MolformerModel(tiny)
    before = embed(encoder, SMILES)
    wrapped = get_peft_model(encoder, LoraConfig(target_modules=["query"], init_lora_weights=False))
    assert embed(wrapped, SMILES).shape == before.shape and not np.allclose(embed(wrapped, SMILES), before)


def test_what_the_tokeniser_would_leave_out_is_refused(model):
    model.eval().config.canonical_smiles = True
    for function in (predict, embed):
        with pytest.raises(
            DataError, match=r"the tokeniser does not know '\$' in '\[Re\]\$\[Re\]'; take the molecule out"
        ):
            function(model, ["CCO", "[Re]$[Re]"])
        with pytest.raises(DataError, match="RDKit cannot read the SMILES 'C1CC'; correct it"):
            function(model, ["CCO", "C1CC"])
        with pytest.raises(DataError, match="'CCO' is one text, not a list of SMILES; put it in a list"):
            function(model, "CCO")


@pytest.mark.parametrize("kind", [MolformerModel, MolformerForMaskedLM])
def test_a_model_without_a_regression_head_predicts_nothing(tiny, kind):
    with pytest.raises(
        DataError, match=rf"a {kind.__name__} .* predicts no logD; load the model with task='regression'"
    ):
        predict(kind(tiny), SMILES)


def test_a_model_of_two_labels_predicts_no_logd(tiny):
    tiny.num_labels = 2
    with pytest.raises(DataError, match="with 2 labels predicts no logD"):
        predict(MolformerForSequenceClassification(tiny), SMILES)


@pytest.mark.parametrize("function", [predict, embed])
def test_no_smiles_are_refused(model, function):
    with pytest.raises(DataError, match="there are no SMILES; give at least one"):
        function(model, [])


@pytest.mark.parametrize("function", [predict, embed])
def test_a_model_stays_in_its_mode_and_is_evaluated_without_dropout(model, function):
    model.train()
    model.molformer.embeddings.eval()
    modes = [module.training for module in model.modules()]
    assert np.array_equal(function(model, SMILES), function(model, SMILES))
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
    function(model, SMILES[:3])
    assert [name for name in calls if name in ("cpu", "double")][-2:] == ["cpu", "double"]
