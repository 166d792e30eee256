"""The bank of drops: which molecules are dropped, and that it is of today's training."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors import safe_open

import drops
from bank import empty_bank, make_bank
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


def test_a_bank_of_other_data_names_its_script(tmp_path, monkeypatch):
    path, parts = tmp_path / DROPS, split(load_lipophilicity())
    bank = empty_bank(drops.members(parts)[:2], 1, parts, np.float32)
    make_bank(path, bank, {"parts": [[0, 3024]]}, lambda *_: {"validation": np.zeros(336), "test": np.ones(840)}, 1)
    assert (load_bank("test", path).predictions == 1).all() and (load_bank("validation", path).predictions == 0).all()
    monkeypatch.setattr("molft_utils.evaluation.banks.data_hashes", lambda: {"lipophilicity.csv": "another"})
    with pytest.raises(DataError, match=r"scripts/drops\.py"):
        load_bank(path=path)


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
