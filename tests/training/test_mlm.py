"""Masked tokens: which are hidden, what is learnt, what the scores say, and what cannot be scored."""

import pandas as pd
import pytest
import torch
from transformers import set_seed

from molft_utils import DataError, DivergenceError, load_tokenizer, pretrain_mlm
from molft_utils.molformer import MolformerForMaskedLM
from molft_utils.training import fill_mask, masked_scores, mlm_collator
from molft_utils.training.mlm import masked_examples


@pytest.fixture
def lm(tiny):
    set_seed(0)
    return MolformerForMaskedLM(tiny)


def test_masking_is_fifteen_per_cent_and_repeats(smiles):
    first, second = masked_examples(smiles * 20, seed=1), masked_examples(smiles * 20, seed=1)
    assert first == second != masked_examples(smiles * 20, seed=2)
    chosen = [label for e in first for label in e["labels"] if label != -100]
    assert len(chosen) / sum(len(e["labels"]) - 2 for e in first) == pytest.approx(0.15, abs=0.01)
    assert not {0, 1, 2} & set(chosen), "<bos>, <eos> and <pad> are never masked"


def test_masked_molecules_are_collated_as_they_are():
    examples = masked_examples(["CCO", "CCCCO"])
    batch = mlm_collator(load_tokenizer())(examples)
    assert batch["input_ids"][0, :5].tolist() == examples[0]["input_ids"] and batch["labels"].shape == (2, 7)
    assert batch["labels"][0, 5:].tolist() == [-100, -100]


def test_training_lowers_the_loss(lm, cfg, smiles, validation):
    before = masked_scores(lm, smiles)
    cfg = cfg.replace(mlm_learning_rate=3e-3, mlm_epochs=4)
    fit = pretrain_mlm(lm, smiles, cfg, list(validation["smiles"]))
    after = masked_scores(fit.model, smiles)
    assert after.loss < before.loss and after.n == before.n > 0
    assert fit.history["validation_loss"].iloc[-1] < fit.history["validation_loss"].iloc[0]
    without = pretrain_mlm(lm, smiles, cfg.replace(mlm_epochs=1))
    assert list(without.history.columns) == ["epoch", "train_loss"]


def test_a_language_model_that_diverges_is_named(lm, cfg, smiles):
    with torch.no_grad():
        lm.lm_head.decoder.weight.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="not finite"):
        pretrain_mlm(lm, smiles, cfg)


def test_fill_mask(lm):
    guesses = fill_mask(lm, "CCO", 2, k=2362)
    assert len(guesses) == 2362 and guesses["right"].sum() == 1 and guesses.loc[guesses["right"], "token"].item() == "O"
    assert guesses["probability"].is_monotonic_decreasing
    with pytest.raises(DataError, match="no token 3"):
        fill_mask(lm, "CCO", 3)


def test_what_cannot_be_scored_or_learnt_is_refused(lm, cfg):
    with pytest.raises(DataError, match="there are no SMILES; give at least one"):
        masked_scores(lm, [])
    with pytest.raises(DataError, match="no SMILES"):
        pretrain_mlm(lm, [], cfg)
    frame = pd.DataFrame({"smiles": ["CCO"], "label": [1.0]})
    for work in (lambda: masked_scores(lm, frame), lambda: pretrain_mlm(lm, frame, cfg)):
        with pytest.raises(DataError, match="table, not a list of SMILES"):
            work()
    with pytest.raises(DataError, match="cannot read the SMILES 'aspirin'"):
        fill_mask(lm, "aspirin", 2)
    seeds = [seed for seed in range(20) if {-100} == set(masked_examples(["C"], seed=seed)[0]["labels"])]
    with pytest.raises(DataError, match="none of the tokens of 1 SMILES was masked; give more SMILES or another seed"):
        masked_scores(lm, ["C"], seed=seeds[0])


@pytest.mark.parametrize("call", [lambda m: masked_scores(m, ["CCCCCO"] * 9), lambda m: fill_mask(m, "CCO", 1)])
def test_a_model_stays_in_its_mode_and_is_evaluated_without_dropout(lm, call):
    lm.train()
    lm.molformer.embeddings.eval()  # a part that was put into another mode by hand
    modes = [module.training for module in lm.modules()]
    assert str(call(lm)) == str(call(lm))
    assert [module.training for module in lm.modules()] == modes


def test_a_model_stays_in_its_mode_when_it_fails(lm, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no memory")

    monkeypatch.setattr(lm.molformer, "forward", fail)
    lm.train()
    with pytest.raises(RuntimeError, match="no memory"):
        masked_scores(lm, ["CCCCCO"] * 9)
    assert all(module.training for module in lm.modules()) and torch.is_grad_enabled()
