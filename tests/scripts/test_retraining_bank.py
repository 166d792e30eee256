"""The bank: halves that complement each other, models that are the recipe's, an interrupted run that goes on."""

import threading

import numpy as np
import pytest
from safetensors.numpy import load_file

from molft_utils import load_logp, predict, settings
from molft_utils.evaluation import data_hashes, load_bank, write_bank
from molft_utils.experiments import pipeline
from molft_utils.making import retraining_bank
from molft_utils.making.retraining_bank import groups, halves, make_bank, random_halves, retrained


def test_halves_complement_each_other_and_hold_every_molecule_as_often():
    members = random_halves(11, 4, seed=0)
    assert (members[0::2] ^ members[1::2]).all() and set(members.sum(axis=1)) == {5, 6}
    assert (members.sum(axis=0) == 4).all() and not (members[0] == members[2]).all()
    assert (members == random_halves(11, 4, seed=0)).all()


def test_no_two_models_share_a_seed():
    cfg = settings("class", limit=16)
    plans = halves(cfg), groups(cfg)
    seeds = [plan.seed(subset, k) for plan in plans for subset in range(len(plan.members)) for k in range(plan.n_seeds)]
    assert len(seeds) == len(set(seeds)) and min(seeds) > 4


def test_groups_go_from_neutral_to_ionisable():
    plan = groups(settings("class"))
    assert not plan.members[:5].any() and (plan.members[5:].sum(axis=1) == 100).all()
    assert plan.train(0).equals(plan.base) and len(plan.train(5)) == len(plan.base) + 100
    ionisable = load_logp().set_index("smiles")["ionisable"]
    shares = [ionisable[plan.pool["smiles"][row]].mean() for row in plan.members[5:]]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert not set(plan.pool["smiles"]) & set(plan.base["smiles"])


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    return settings("smoke", limit=16, epochs=1)


def test_an_interrupted_bank_goes_on_where_it_was(cfg, tmp_path, monkeypatch, capsys):
    path, trained = tmp_path / "bank.safetensors", []

    def counted(cfg, start, train, seed):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(seed)
        return {"validation": np.full(16, seed, np.float16), "test": np.full(16, seed, np.float16)}

    monkeypatch.setattr(retraining_bank, "retrained", counted)
    plan = halves(cfg, n_pairs=2, n_seeds=1)
    with pytest.raises(KeyboardInterrupt):
        make_bank(cfg, plan, path, n_jobs=1)
    assert np.isnan(load_file(path)["test_predictions"]).sum() == 2 * 16
    trained.clear()
    make_bank(cfg, plan, path, n_jobs=1)
    assert trained == [plan.seed(2, 0), plan.seed(3, 0)]
    bank = load_bank(path=path)
    assert bank.predictions[:, 0, 0].tolist() == [plan.seed(s, 0) for s in range(4)]
    assert bank.members.shape == (4, 32)
    part = load_bank(path=path, limit=3)
    assert part.predictions.shape == (4, 1, 3)
    assert (part.members == bank.members[:, [0, 1, 2, 16, 17, 18]]).all()
    trained.clear()
    make_bank(cfg, plan, path, n_jobs=1)
    assert not trained
    with pytest.raises(KeyboardInterrupt):
        make_bank(cfg.replace(epochs=2), plan, path, n_jobs=1)
    assert len(trained) == 2 and "regression.epochs: 1 -> 2" in capsys.readouterr().out


def test_two_that_make_one_bank_train_each_model_once(cfg, tmp_path, monkeypatch):
    path, trained = tmp_path / "bank.safetensors", []

    def counted(cfg, start, train, seed):
        trained.append(seed)
        return {name: np.full(16, seed, np.float16) for name in ("validation", "test")}

    monkeypatch.setattr(retraining_bank, "retrained", counted)
    plan = halves(cfg, n_pairs=2, n_seeds=1)
    pair = [threading.Thread(target=make_bank, args=(cfg, plan, path, 1)) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert sorted(trained) == [plan.seed(s, 0) for s in range(4)]
    assert load_bank(path=path).predictions.shape == (4, 1, 16)


def test_a_seed_counts_once_all_subsets_have_it(tmp_path):
    tensors = {
        "members": np.eye(2, dtype=bool),
        "test_labels": np.zeros(1, np.float32),
        "test_predictions": np.array([[[1.0], [np.nan]], [[2.0], [3.0]]], np.float16),
    }
    write_bank(tmp_path / "bank.safetensors", {"data": data_hashes(), "parts": [[0, 2]]}, tensors)
    assert load_bank(path=tmp_path / "bank.safetensors").predictions.tolist() == [[[1.0]], [[2.0]]]


def test_a_retrained_model_is_that_of_the_pipeline(cfg):
    parts = pipeline.tables(cfg)
    predictions = retrained(cfg, pipeline.mlm(cfg).folder, parts.train, seed=7)
    same = pipeline.after_mlm(cfg.replace(seed=0), parts.train, early_stopping=False)
    assert len(same.history) == 1 and "validation_loss" not in same.history
    assert {name: p.dtype for name, p in predictions.items()} == {"validation": np.float16, "test": np.float16}
    again = retrained(cfg, pipeline.mlm(cfg).folder, parts.train, seed=7)
    other = retrained(cfg, pipeline.mlm(cfg).folder, parts.train, seed=8)
    assert (predictions["test"] == again["test"]).all() and (predictions["test"] != other["test"]).any()
    graded = retrained(cfg, pipeline.mlm(cfg).folder, parts.train, seed=0)
    assert np.allclose(graded["test"], predict(same.model, parts.test["smiles"]), atol=5e-3)
