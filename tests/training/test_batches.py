"""Token ids that were checked; batches: molecules of similar lengths together, every molecule once."""

import numpy as np
import pandas as pd
import pytest
import torch

from molft_utils import DataError, DataWarning, finetune, load_table, predict
from molft_utils.data import canonicalise
from molft_utils.molformer import PAD, MolformerConfig, load_tokenizer, tokenise
from molft_utils.training import length_batches, model_tokens, molecule_batches
from molft_utils.training.batches import LengthBatches, RandomisedSmiles, cut_ids, pad

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
PEPTIDE = "N" + "CC(=O)N" * 40 + "CC(=O)O"
PEPTIDE_TOKENS = len(tokenise([PEPTIDE], 10_000)[0])  # more than 128


@pytest.mark.parametrize("labels", [{}, {"labels": 1.5}])
def test_padding(labels):
    assert PAD == load_tokenizer().pad_token_id == MolformerConfig().pad_token_id
    batch = pad([{"input_ids": ids, **labels} for ids in ([0, 4, 1], [0, 4, 5, 6, 1])])
    assert batch["input_ids"].tolist() == [[0, 4, 1, PAD, PAD], [0, 4, 5, 6, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert set(batch) == {"input_ids", "attention_mask", *labels} and batch["input_ids"].dtype == torch.int64
    if labels:
        assert torch.equal(batch["labels"], torch.full((2,), 1.5))


def test_a_share_of_the_training_molecules_is_randomised():
    table = pd.DataFrame({"smiles": [ASPIRIN] * 200, "label": 1.0})
    torch.manual_seed(0)
    mixed, plain = RandomisedSmiles(table, True, 128, 0.5), RandomisedSmiles(table, True, 128)
    shown = [mixed[i]["input_ids"] for i in range(200)]
    others = [ids for ids in shown if ids != plain[0]["input_ids"]]
    assert 0.35 < len(others) / 200 < 0.6
    texts = {load_tokenizer().decode(ids, skip_special_tokens=True).replace(" ", "") for ids in others}
    assert len(texts) > 5 and {canonicalise(text) for text in texts} == {ASPIRIN}


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
    assert np.corrcoef([np.mean(b) for b in batches], range(len(batches)))[0, 1] < 0.7  # not sorted by length


@pytest.mark.filterwarnings("ignore::molft_utils.DataWarning")
def test_a_model_gets_the_tokens_that_its_configuration_asks_for(model):
    assert model_tokens(model, ["OCC"]) == tokenise(["OCC"]) != tokenise(["CCO"])
    model.config.canonical_smiles, model.config.max_tokens = True, 7
    assert model_tokens(model, ["OCC", "C" * 50]) == tokenise(["CCO", "C" * 50], max_tokens=7)


def test_batches_for_a_model_name_their_rows(model):
    table = pd.DataFrame({"smiles": ["CCCCO", "C", "CCO"], "label": [5.0, 1.0, 3.0]})
    batches, rows = molecule_batches(model, table, 2)
    assert rows == [1, 2, 0] and [b["labels"].tolist() for b in batches] == [[1.0, 3.0], [5.0]]
    assert [tuple(b["input_ids"].shape) for b in batches] == [(2, 5), (1, 7)]
    with pytest.raises(DataError, match="no rows to make batches from; give at least one molecule"):
        molecule_batches(model, table.head(0), 2)


def test_a_molecule_that_is_cut_is_named(model, cfg):
    table = pd.DataFrame({"smiles": ["CCO", PEPTIDE], "label": [0.0, 1.0]})
    for work in (
        lambda: predict(model, table["smiles"]),
        lambda: molecule_batches(model, table, 2),
        lambda: finetune(model, table, None, cfg.replace(epochs=1)),
    ):
        with pytest.warns(DataWarning, match=rf"more than 128 tokens are cut.*CC\(=O\)O has {PEPTIDE_TOKENS}"):
            work()
    peptides = [n * "C" + PEPTIDE for n in range(5)]
    with pytest.warns(DataWarning, match="and 2 more"):
        assert cut_ids(peptides, False, 50) == tokenise(peptides, 50)


def test_a_molecule_that_its_tables_loader_has_named_is_cut_in_silence(model, tmp_path, recwarn):
    listed = PEPTIDE + "C"
    pd.DataFrame({"smiles": ["CCO", listed], "label": [0.0, 1.0]}).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.warns(DataWarning, match="line 3 has more than 128 tokens"):
        table = load_table(tmp_path / "mine.csv")
    predict(model, table["smiles"])
    assert not recwarn.list
