"""Masked tokens: which are hidden, what the scores say, and what cannot be scored."""

import pytest
import torch

from molft_utils import DataError, load_tokenizer
from molft_utils.molformer import MolformerForMaskedLM
from molft_utils.training.mlm import fill_mask, masked_examples, masked_scores, mlm_collator

SMILES = [f"{'C' * i}{tail}" for i in range(1, 13) for tail in ("O", "N", "Cl", "F", "c1ccccc1")]


@pytest.fixture
def lm(tiny):
    return MolformerForMaskedLM(tiny)


def test_masking_is_fifteen_per_cent_and_repeats():
    first, second = masked_examples(SMILES * 20, seed=1), masked_examples(SMILES * 20, seed=1)
    assert first == second != masked_examples(SMILES * 20, seed=2)
    chosen = [label for e in first for label, i in zip(e["labels"], e["input_ids"], strict=True) if label != -100]
    inner = sum(len(e["labels"]) - 2 for e in first)
    assert len(chosen) / inner == pytest.approx(0.15, abs=0.01)
    assert not {0, 1, 2} & set(chosen), "<bos>, <eos> and <pad> are never masked"


def test_masked_molecules_are_collated_as_they_are():
    examples = masked_examples(["CCO", "CCCCO"])
    batch = mlm_collator(load_tokenizer())(examples)
    assert batch["input_ids"][0, :5].tolist() == examples[0]["input_ids"] and batch["labels"].shape == (2, 7)
    assert batch["labels"][0, 5:].tolist() == [-100, -100]


def test_fill_mask(lm):
    guesses = fill_mask(lm, "CCO", 2, k=2362)
    assert len(guesses) == 2362 and guesses["right"].sum() == 1 and guesses.loc[guesses["right"], "token"].item() == "O"
    assert guesses["probability"].is_monotonic_decreasing
    with pytest.raises(DataError, match="no token 3"):
        fill_mask(lm, "CCO", 3)


def test_scores_without_a_masked_token_are_refused(lm):
    with pytest.raises(DataError, match="there are no SMILES; give at least one"):
        masked_scores(lm, [])
    seeds = [seed for seed in range(20) if {-100} == set(masked_examples(["C"], seed=seed)[0]["labels"])]
    with pytest.raises(DataError, match="none of the tokens of 1 SMILES was masked; give more SMILES or another seed"):
        masked_scores(lm, ["C"], seed=seeds[0])


@pytest.mark.parametrize("call", [lambda m: masked_scores(m, SMILES), lambda m: fill_mask(m, "CCO", 1)])
@pytest.mark.parametrize("training", [True, False])
def test_a_model_stays_in_its_mode_and_is_evaluated_without_dropout(lm, call, training):
    lm.train(training)
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
        masked_scores(lm, SMILES)
    assert all(module.training for module in lm.modules()) and torch.is_grad_enabled()
