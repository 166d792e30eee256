"""The bank of drops: which molecules are dropped, and that it is of today's training."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors import safe_open

import drops
from molft_utils import DataError, load_lipophilicity, split
from molft_utils.evaluation import DROPS, load_bank
from molft_utils.files import data_file
from molft_utils.influence import Recipe


def test_shares_are_dropped_in_turn_and_the_twin_alone():
    parts = split(load_lipophilicity())
    dropped = ~drops.members(parts)
    sizes = dropped.sum(axis=1)
    assert sizes[0] == 0 and parts.train["chembl_id"][dropped[1]].tolist() == ["CHEMBL1089224"]
    assert sizes[2:].tolist() == [30, 151, 302] * 40
    overlap = dropped[3:].astype(float) @ dropped[3:].T / np.minimum.outer(sizes[3:], sizes[3:])
    assert overlap[~np.eye(len(overlap), dtype=bool)].mean() < 0.1  # what chance gives; 1 if all began alike


def test_a_bank_that_was_written_can_be_read_and_names_its_script(tmp_path, monkeypatch):
    monkeypatch.setattr(drops, "DATA_FOLDER", tmp_path)
    (tmp_path / "retraining").mkdir()
    (tmp_path / "molformer-mini-descriptors").mkdir()
    (tmp_path / "molformer-mini-descriptors/model.safetensors").touch()
    parts = split(load_lipophilicity())
    predictions = np.random.default_rng(0).normal(size=(3, 336 + 840)).astype(np.float32)
    drops.write_bank(parts, drops.members(parts)[:3], predictions)
    for name, expected in (("validation", predictions[:, :336]), ("test", predictions[:, 336:])):
        bank = load_bank(name, tmp_path / DROPS)
        assert np.array_equal(bank.predictions[:, 0], expected)
        assert np.allclose(bank.labels, getattr(parts, name)["label"])
    monkeypatch.setattr("molft_utils.evaluation.retraining.data_hashes", lambda: {"lipophilicity.csv": "another"})
    with pytest.raises(DataError, match=r"scripts/drops\.py"):
        load_bank(path=tmp_path / DROPS)


# The repository's


def test_the_bank_is_of_todays_training():
    with safe_open(data_file(DROPS), framework="numpy") as file:
        assert json.loads(file.metadata()["recipe"]) == dataclasses.asdict(Recipe())
    bank = load_bank("test", DROPS)
    assert np.array_equal(bank.members, drops.members(split(load_lipophilicity())))
    assert bank.predictions.shape == (122, 1, 840)


def test_without_its_twin_a_molecules_prediction_moves_most():
    bank, query = load_bank("test", DROPS), 366
    assert bank.labels[query] == pytest.approx(1.86) and query in bank.some(40)[0]
    whole, without = bank.predictions[:2, 0]
    moved = np.abs(whole - without)
    assert moved[query] == moved.max() > 10 * np.median(moved)
