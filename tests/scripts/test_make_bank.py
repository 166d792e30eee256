"""The bank: halves that complement each other, groups, an interrupted run that resumes."""

import numpy as np
import pytest

import bank
from bank import groups, halves
from molft_utils import StaleRunError, load_logp, settings
from molft_utils.evaluation import load_bank
from molft_utils.experiments import pipeline


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


def test_an_interrupted_bank_resumes(tmp_path):
    cfg, path, trained = settings("smoke", limit=16), tmp_path / "bank.safetensors", []
    plan, parts = halves(cfg, n_pairs=2, n_seeds=1), pipeline.tables(cfg)

    def retrain(subset, k):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(subset)
        return {name: np.full(16, plan.seed(subset, k)) for name in ("validation", "test")}

    def make(members=plan.members, **about):
        about = {"parts": plan.parts, "settings": plan.digits(cfg), **about}
        bank.make_bank(path, bank.empty_bank(members, 1, parts), about, retrain, n_jobs=1)

    with pytest.raises(KeyboardInterrupt):
        make()
    trained.clear()
    make()
    assert trained == [2, 3]
    assert load_bank(path=path).predictions[:, 0, 0].tolist() == [plan.seed(subset, 0) for subset in range(4)]
    for other in ({"settings": "0" * 12}, {"members": ~plan.members}):
        with pytest.raises(StaleRunError, match="other settings or data"):
            make(**other)
