"""The bank: halves that complement each other, groups, an interrupted run that resumes."""

import numpy as np
import pytest

import bank
from bank import groups, halves, make_bank
from molft_utils import StaleRunError, load_logp, settings
from molft_utils.evaluation import load_bank


def test_halves_complement_each_other():
    members = halves(settings("class", limit=15)).members
    assert (members[0::2] ^ members[1::2]).all() and np.ptp(members.sum(axis=1)) <= 1
    assert not (members[0] == members[2]).all()


def test_groups_go_from_neutral_to_ionisable():
    plan = groups(settings("class"))
    assert not plan.members[:5].any() and (plan.members[5:].sum(axis=1) == 100).all()
    assert plan.train(0).equals(plan.base) and len(plan.train(5)) == len(plan.base) + 100
    ionisable = load_logp().set_index("smiles")["ionisable"]
    shares = [ionisable[plan.pool["smiles"][row]].mean() for row in plan.members[5:]]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert not set(plan.pool["smiles"]) & set(plan.base["smiles"])


def test_an_interrupted_bank_resumes(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    cfg, path, trained = settings("smoke", limit=16, epochs=1), tmp_path / "bank.safetensors", []

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
    assert load_bank(path=path).predictions[:, 0, 0].tolist() == [plan.seed(subset, 0) for subset in range(4)]
    with pytest.raises(StaleRunError, match="other settings or data"):
        make_bank(cfg.replace(epochs=2), plan, path, n_jobs=1)
