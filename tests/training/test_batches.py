"""Batches: molecules of similar lengths together, every molecule once; random SMILES of the same molecule."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import DataCollatorWithPadding

from molft_utils import DataError
from molft_utils.data import canonicalise, randomised
from molft_utils.molformer import PAD, MolformerConfig, MolformerForSequenceClassification, load_tokenizer, tokenise
from molft_utils.training import length_batches, model_tokens, molecule_batches
from molft_utils.training.batches import LengthBatches, RandomisedSmiles, pad

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.mark.parametrize("labels", [{}, {"labels": 1.5}])
def test_padding_is_what_the_librarys_collator_makes(labels):
    molecules = [{"input_ids": ids, **labels} for ids in tokenise([ASPIRIN, "C", "CCO"])]
    ours, theirs = pad(molecules), DataCollatorWithPadding(load_tokenizer())(molecules)
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype and torch.equal(values, theirs[name]), name


def test_the_pad_token_is_the_tokenisers_and_the_models():
    assert PAD == load_tokenizer().pad_token_id == MolformerConfig().pad_token_id


def test_random_smiles_are_the_same_molecule_and_follow_their_seed():
    forms = [randomised(ASPIRIN, seed) for seed in range(20)]
    assert len(set(forms)) > 5 and {canonicalise(s) for s in forms} == {ASPIRIN}
    assert forms == [randomised(ASPIRIN, seed) for seed in range(20)]


def test_a_share_of_the_training_molecules_is_randomised():
    table = pd.DataFrame({"smiles": [ASPIRIN] * 200, "label": 1.0})
    torch.manual_seed(0)
    shown = [tuple(RandomisedSmiles(table, 128, 0.5)[i]["input_ids"]) for i in range(200)]
    canonical = tuple(RandomisedSmiles(table, 128)[0]["input_ids"])
    assert 0.35 < np.mean([ids != canonical for ids in shown]) < 0.6


def test_batches_by_length_cover_everything_once():
    ids = [[0] * n for n in (5, 3, 9, 1, 7)]
    batches = list(length_batches(ids, 2))
    assert sorted(np.concatenate(batches)) == [0, 1, 2, 3, 4] and [len(ids[i]) for i in batches[0]] == [1, 3]


def test_an_epoch_holds_every_molecule_once_in_batches_of_similar_lengths():
    lengths = torch.randint(10, 120, (103,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = LengthBatches(lengths, 8)
    torch.manual_seed(0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(103)) and first != second
    batches = [[lengths[i] for i in first[k : k + 8]] for k in range(0, 96, 8)]
    assert np.mean([1 - np.mean(batch) / max(batch) for batch in batches]) < 0.12  # at random it is 0.40
    assert np.corrcoef([np.mean(b) for b in batches], range(len(batches)))[0, 1] < 0.7  # no march by length


def test_a_model_gets_the_tokens_that_its_configuration_asks_for(tiny):
    model = MolformerForSequenceClassification(tiny)
    assert (tiny.canonical_smiles, tiny.max_tokens, tiny.n_random) == (False, 128, 0)
    assert model_tokens(model, ["OCC"]) == tokenise(["OCC"]) != tokenise(["CCO"])
    tiny.canonical_smiles, tiny.max_tokens = True, 7
    assert model_tokens(model, ["OCC", "C" * 50]) == tokenise(["CCO", "C" * 50], max_tokens=7)
    assert type(tiny)(**tiny.to_dict()).max_tokens == 7


def test_batches_for_a_model_name_their_rows_and_refuse_an_empty_table(tiny):
    model = MolformerForSequenceClassification(tiny)
    table = pd.DataFrame({"smiles": ["CCCCO", "C", "CCO"], "label": [5.0, 1.0, 3.0]})
    batches, rows = molecule_batches(model, table, 2)
    assert rows == [1, 2, 0] and [b["labels"].tolist() for b in batches] == [[1.0, 3.0], [5.0]]
    assert [tuple(b["input_ids"].shape) for b in batches] == [(2, 5), (1, 7)]
    with pytest.raises(DataError, match="no rows to make batches from; give at least one molecule"):
        molecule_batches(model, table.head(0), 2)
