"""Scores, values, and the rules that choose by them."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError, settings
from molft_utils.experiments import pipeline, selection
from molft_utils.experiments.rules import RULES, SELECTIONS, RuleInputs, keep_top, rule_values, training_table


@pytest.fixture(scope="module")
def cfg():
    return settings("smoke", limit=16, epochs=1, influence_depth=8, influence_batch_size=8, shapley_subset=8)


@pytest.fixture(scope="module")
def secondary(cfg):
    return selection.secondary_table(cfg).assign(corrupted=np.arange(16) % 2 == 0)


def test_targets_are_chosen_by_name(cfg, secondary):
    with pytest.raises(DataError, match="choose 'validation'"):
        selection.influence(cfg, secondary, target="train")
    honest, leaky = (selection.influence(cfg, secondary, target=t) for t in ("validation", "test"))
    assert "LEAK" in str(leaky) and "LEAK" not in str(honest)
    assert not np.allclose(honest.scores, leaky.scores)
    again = selection.influence(cfg, secondary)
    assert np.allclose(again.scores, honest.scores) and str(again) == str(honest)
    assert again.direction.direction.keys() == honest.direction.direction.keys()
    assert again.direction.damping == honest.direction.damping > 0
    assert list(again.table.index) == list(honest.table.index)


def test_scores_are_kept_and_the_candidates_columns_are_the_callers(cfg, secondary):
    first = selection.influence(cfg, secondary.assign(note="first"))
    second = selection.influence(cfg, secondary.assign(note="second", corrupted=True))
    assert set(first.table["note"]) == {"first"} and set(second.table["note"]) == {"second"}
    assert second.table["corrupted"].all() and np.array_equal(first.scores, second.scores)


def test_a_path_has_the_kernel_of_each_epoch_and_is_kept(cfg, secondary, monkeypatch):
    train, queries = selection.with_secondary(cfg, secondary), pipeline.tables(cfg).test
    fit = selection.scored_fit(cfg.replace(epochs=3), train)
    path = selection.kernel_path(fit, train, queries)
    assert len(selection.kernel_path(fit, train, queries, all_moments=True).kernels) == 3
    assert len(path.kernels) == 2 and path.scores(0.1).shape == (16, 32)
    monkeypatch.setattr(selection, "influence_kernel", None)  # so that a second computation would fail
    assert np.array_equal(selection.kernel_path(fit, train, queries).scores(0.1), path.scores(0.1))


def test_values_of_the_training_split_and_the_secondary_set(cfg, secondary):
    values, n_drop = selection.shapley(cfg, secondary)
    assert values.shape == (32,) and np.isfinite(values).all() and n_drop >= 3
    again, _ = selection.shapley(cfg, secondary)
    assert np.array_equal(again, values)


# Rules


def test_the_highest_are_kept_and_of_equals_the_first():
    assert keep_top(np.array([1.0, 3.0, 2.0, 3.0]), 2).tolist() == [False, True, False, True]
    assert keep_top(np.zeros(3), 1).tolist() == [True, False, False] and not keep_top(np.ones(2), 0).any()


def test_a_random_sample_is_the_one_that_pandas_draws(cfg, secondary):
    inputs = RuleInputs(cfg.replace(seed=3), secondary.head(0), secondary)
    drawn = secondary[keep_top(rule_values(inputs, "random sample"), 5)]
    assert drawn.equals(secondary.sample(5, random_state=3).sort_index())


@pytest.mark.parametrize("name", list(SELECTIONS))
def test_every_line_makes_a_training_table(cfg, secondary, name):
    table, train = training_table(cfg, secondary, name), selection.with_secondary(cfg, secondary.head(0))
    assert list(table) == ["smiles", "label"] and list(table.index) == list(range(len(table)))
    right = secondary.loc[~secondary["corrupted"], "smiles"]
    expected = {"train alone": train["smiles"], "oracle": pd.concat([train["smiles"], right])}
    if name in expected:
        assert list(table["smiles"]) == list(expected[name])
    if name in ("ts-dshapley", "random removal", "highest removed"):
        values, n_drop = selection.shapley(cfg, secondary)
        assert len(table) == 32 - n_drop
        lowest = set(selection.with_secondary(cfg, secondary)["smiles"].iloc[np.argsort(values)[:n_drop]])
        assert (name != "ts-dshapley") or not lowest & set(table["smiles"])
    elif not SELECTIONS[name].among_all:
        assert table.head(16).equals(train)


def test_each_line_names_the_kinds_that_run(cfg, secondary, monkeypatch):
    for name in SELECTIONS:
        ran, original = set(), selection.cached
        with monkeypatch.context() as patch:
            patch.setattr(selection, "cached", lambda kind, *rest: ran.add(kind) or original(kind, *rest))  # noqa: B023
            training_table(cfg, secondary, name)
        named = SELECTIONS[name].kinds
        assert set(named) <= ran <= {one for kind in named for one in kind.all()}, name


def test_no_line_keeps_nothing_in_silence(cfg, secondary, monkeypatch):
    monkeypatch.setitem(RULES, "influence by LiSSA", lambda inputs: -np.ones(16))
    with pytest.raises(DataError, match="'all positive' keeps none of 16"):
        training_table(cfg, secondary, "all positive")
    with pytest.raises(DataError, match="unknown selection 'best'; choose one of train alone"):
        training_table(cfg, secondary, "best")
    with pytest.raises(DataError, match="unknown rule 'guess'"):
        rule_values(RuleInputs(cfg, secondary, secondary), "guess")
    with pytest.raises(DataError, match="reads the column 'corrupted', which the candidates lack"):
        training_table(cfg, secondary[["smiles", "label"]], "oracle")
