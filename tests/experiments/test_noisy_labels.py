"""Pools with wrong labels: the errors that they say, and no label that a rule may not see."""

import math

import numpy as np
import pytest

from molft_utils import DataError, settings
from molft_utils.experiments import pipeline, selection
from molft_utils.experiments.noisy_labels import ERRORS, MEASURED, draw_pool
from molft_utils.experiments.rules import RULES, RuleInputs, keep_top, rule_values

#: Lines of Tables 2 and 3 are made by these, from the training split; the pool's base is the clean molecules.
OF_TABLES = ("influence by LiSSA", "gradient product without a sketch", "TS-DShapley, half of the validation split")


@pytest.fixture(scope="module")
def cfg():
    return settings("smoke", epochs=1)


@pytest.fixture(scope="module")
def noisy(cfg):
    return draw_pool(cfg, "natural logarithm", 0.25)


@pytest.fixture(scope="module")
def inputs(cfg, noisy, stages):
    return RuleInputs(cfg, noisy.clean, noisy.pool)


def test_errors_meet_the_share_that_they_should():
    cfg = settings("class", seed=3)
    train = pipeline.tables(cfg).train.set_index("smiles")["label"]
    for kind in ERRORS:
        found = draw_pool(cfg, kind, 0.2)
        assert len(found.clean) == 300 and len(found.pool) == 2724
        assert not set(found.clean["smiles"]) & set(found.pool["smiles"])
        right, wrong = (found.pool[found.pool["corrupted"] == w] for w in (False, True))
        assert len(wrong) == 545 and (right["label"].to_numpy() == train[right["smiles"]].to_numpy()).all()
        true = train[wrong["smiles"]].to_numpy()
        expected = {"natural logarithm": true * math.log(10), "lost sign": -true}.get(kind)
        if expected is None:
            assert sorted(wrong["label"]) == sorted(true) and (wrong["label"] != true).mean() > 0.9
        else:
            assert np.allclose(wrong["label"], expected)
    assert found.pool["label"].equals(draw_pool(cfg, kind, 0.2).pool["label"])
    assert not found.pool["smiles"].equals(draw_pool(cfg.replace(seed=4), kind, 0.2).pool["smiles"])


def test_the_measured_pool_is_wrong_where_it_is_ionisable():
    found = draw_pool(settings("class"), MEASURED, 1.0)
    assert len(found.pool) == 2378 and found.pool["corrupted"].sum() == 606
    assert list(found.everything) == ["smiles", "label"] and len(found.everything) == 2678


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in OF_TABLES])
def test_every_rule_gives_each_candidate_a_number_and_none_but_the_oracle_sees_which_are_wrong(inputs, noisy, rule):
    values = rule_values(inputs, rule)
    assert values.shape == (len(noisy.pool),) and np.isfinite(values).all()
    blind = RuleInputs(inputs.settings, noisy.clean, noisy.pool[["smiles", "label"]])
    if rule == "oracle":
        with pytest.raises(DataError, match="corrupted"):
            rule_values(blind, rule)
    else:
        assert np.array_equal(rule_values(blind, rule), values) and len(set(values)) > len(values) / 2


def test_the_oracle_drops_what_is_wrong(inputs, noisy):
    wrong = noisy.pool["corrupted"].to_numpy()
    kept = keep_top(rule_values(inputs, "oracle"), int((~wrong).sum()))
    assert (kept == ~wrong).all()
    table = noisy.with_pool(kept)
    assert len(table) == len(noisy.clean) + (~wrong).sum() and "corrupted" not in table


def test_the_number_to_drop_is_chosen_on_molecules_that_made_no_value(inputs, noisy, monkeypatch):
    value_half, seen = len(inputs.source.y_value), []
    original = selection.ts_dshapley
    monkeypatch.setattr(selection, "ts_dshapley", lambda *a, **k: seen.append(len(a[3])) or original(*a, **k))
    n_kept = len(inputs.base)
    values, number = selection.values_and_optimum(inputs.source, inputs.settings, n_kept)
    assert seen == [value_half] and len(inputs.source.problem[3]) == value_half + len(inputs.source.y_choice)
    assert len(values) == n_kept + len(noisy.pool) and 0 <= number <= len(values)


def test_senseless_questions_are_refused(cfg):
    with pytest.raises(DataError, match="unknown kind of error 'typo'"):
        draw_pool(cfg, "typo", 0.1)
    with pytest.raises(DataError, match="share is 2"):
        draw_pool(cfg, "permuted", 2)
