"""The bank: halves that complement each other, models that are the recipe's, an interrupted run that resumes."""

import numpy as np
import pytest

import bank
from bank import groups, halves, make_bank, random_halves, retrained
from molft_utils import StaleRunError, load_logp, predict, settings
from molft_utils.evaluation import load_bank
from molft_utils.experiments import pipeline


def test_halves_complement_each_other_and_hold_every_molecule_as_often():
    members = random_halves(11, 4, seed=0)
    assert (members[0::2] ^ members[1::2]).all() and set(members.sum(axis=1)) == {5, 6}
    assert (members.sum(axis=0) == 4).all() and not (members[0] == members[2]).all()


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


def test_an_interrupted_bank_resumes(cfg, tmp_path, monkeypatch):
    path, trained = tmp_path / "bank.safetensors", []

    def counted(cfg, start, train, seed):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(seed)
        return {name: np.full(16, seed, np.float16) for name in ("validation", "test")}

    monkeypatch.setattr(bank, "retrained", counted)
    plan = halves(cfg, n_pairs=2, n_seeds=1)
    with pytest.raises(KeyboardInterrupt):
        make_bank(cfg, plan, path, n_jobs=1)
    trained.clear()
    make_bank(cfg, plan, path, n_jobs=1)
    assert trained == [plan.seed(2, 0), plan.seed(3, 0)]
    made = load_bank(path=path)
    assert made.predictions[:, 0, 0].tolist() == [plan.seed(subset, 0) for subset in range(4)]
    assert (made.members == plan.members).all()
    trained.clear()
    make_bank(cfg, plan, path, n_jobs=1)
    assert not trained
    with pytest.raises(StaleRunError, match="other settings or data"):
        make_bank(cfg.replace(epochs=2), plan, path, n_jobs=1)


def test_a_retrained_model_is_that_of_the_pipeline(cfg):
    parts, start = pipeline.tables(cfg), pipeline.mlm(cfg).folder
    same = pipeline.after_mlm(cfg, parts.train, early_stopping=False)
    found, other = (retrained(cfg, start, parts.train, seed)["test"] for seed in (0, 8))
    assert found.dtype == np.float16 and (found != other).any()
    assert np.allclose(found, predict(same.model, parts.test["smiles"]), atol=5e-3)
