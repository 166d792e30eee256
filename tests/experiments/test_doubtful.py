"""Doubtful pools: the errors that they say, the rules that they allow, and no label that a rule may not see."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from molft_utils import DataError, settings
from molft_utils.experiments import doubtful, pipeline, stages
from molft_utils.experiments.doubtful import ERRORS, MEASURED, RULES, Evidence, kept, pool_values


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    with stages.in_folder(tmp_path_factory.mktemp("stages")):
        cfg = settings("smoke", epochs=1)
        yield Evidence(cfg, doubtful.draw_pool(cfg, "natural logarithm", 0.25))


def test_errors_meet_the_share_that_they_should():
    cfg = settings("class", seed=3)
    train = pipeline.tables(cfg).train.set_index("smiles")["label"]
    for kind in ERRORS:
        found = doubtful.draw_pool(cfg, kind, 0.2)
        assert len(found.trusted) == 300 and len(found.pool) == 2724
        assert not set(found.trusted["smiles"]) & set(found.pool["smiles"])
        right, wrong = (found.pool[found.pool["corrupted"] == w] for w in (False, True))
        assert len(wrong) == 545 and (right["label"].to_numpy() == train[right["smiles"]].to_numpy()).all()
        true = train[wrong["smiles"]].to_numpy()
        expected = {"natural logarithm": true * math.log(10), "lost sign": -true}.get(kind)
        if expected is None:
            assert sorted(wrong["label"]) == sorted(true) and (wrong["label"] != true).mean() > 0.9
        else:
            assert np.allclose(wrong["label"], expected)
    assert found.pool["label"].equals(doubtful.draw_pool(cfg, kind, 0.2).pool["label"])
    assert not found.pool["smiles"].equals(doubtful.draw_pool(cfg.replace(seed=4), kind, 0.2).pool["smiles"])


def test_the_measured_pool_is_wrong_where_it_is_ionisable():
    found = doubtful.draw_pool(settings("class"), MEASURED, 1.0)
    assert len(found.pool) == 2378 and found.pool["corrupted"].sum() == 606
    assert list(found.everything) == ["smiles", "label"] and len(found.everything) == 2678


@pytest.mark.parametrize("rule", list(RULES))
def test_every_rule_gives_the_pool_a_number_each(evidence, rule):
    values = pool_values(evidence, rule)
    assert values.shape == (len(evidence.molecules.pool),) and np.isfinite(values).all()
    if rule not in ("oracle", "random"):
        assert len(set(values)) > len(values) / 2


def test_the_oracle_drops_what_is_wrong_and_random_what_comes(evidence):
    wrong = evidence.molecules.pool["corrupted"].to_numpy()
    assert (kept(pool_values(evidence, "oracle"), wrong.sum()) == ~wrong).all()
    assert kept(pool_values(evidence, "random"), 5).sum() == len(wrong) - 5
    table = evidence.molecules.with_pool(~wrong)
    assert len(table) == len(evidence.molecules.trusted) + (~wrong).sum() and "corrupted" not in table


def test_no_rule_but_the_oracle_sees_which_labels_are_wrong(evidence):
    molecules = evidence.molecules
    blind = Evidence(evidence.settings, doubtful.Doubtful(molecules.trusted, molecules.pool[["smiles", "label"]]))
    for rule in RULES:
        if rule == "oracle":
            with pytest.raises(KeyError):
                pool_values(blind, rule)
        else:
            assert np.array_equal(pool_values(blind, rule), pool_values(evidence, rule)), rule


def test_the_number_to_drop_is_chosen_on_molecules_that_made_no_value(evidence, monkeypatch):
    value_half = len(evidence.data.y_value)
    seen = []
    original = doubtful.selection.ts_dshapley
    monkeypatch.setattr(doubtful.selection, "ts_dshapley", lambda *a, **k: seen.append(len(a[3])) or original(*a, **k))
    values, number = doubtful.values_and_number(evidence)
    assert seen == [value_half] and len(evidence.source[3]) == value_half + len(evidence.data.y_choice)
    assert len(values) == len(evidence.molecules.pool) and 0 <= number <= len(values)


def test_no_molecule_is_judged_by_a_model_that_was_trained_on_it(evidence, monkeypatch):
    """Models that know their labels by heart: the others' labels are their only errors."""
    known = {}

    def remember(settings, table, early_stopping):
        known.update(seen=set(table["smiles"]))
        return SimpleNamespace(model=None)

    labels = evidence.molecules.everything.set_index("smiles")["label"]
    monkeypatch.setattr(doubtful.pipeline, "after_mlm", remember)
    monkeypatch.setattr(
        doubtful, "predict", lambda model, smiles: [labels[one] + (one not in known["seen"]) for one in smiles]
    )
    assert np.allclose(doubtful.language_model_out_of_fold(evidence), -1)


def test_senseless_questions_are_refused(evidence):
    with pytest.raises(DataError, match="unknown kind of error 'typo'"):
        doubtful.draw_pool(evidence.settings, "typo", 0.1)
    with pytest.raises(DataError, match="share is 2"):
        doubtful.draw_pool(evidence.settings, "permuted", 2)
    with pytest.raises(DataError, match="unknown rule"):
        pool_values(evidence, "guess")
