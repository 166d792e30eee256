"""The rules by which molecules are kept."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError, settings
from molft_utils.experiments import rules, selection, stages


@pytest.fixture
def stages_here(tmp_path):
    with stages.in_folder(tmp_path):
        yield


SCORED = pd.DataFrame(
    {
        "smiles": ["C" * (i + 1) for i in range(300)],
        "label": np.zeros(300),
        "score": np.linspace(-1, 2, 300),
        "dot_product": np.linspace(2, -1, 300),
    }
).sample(frac=1, random_state=0)


def test_rules_keep_what_they_say():
    assert len(rules.choose(SCORED, "train alone")) == 0
    assert list(rules.choose(SCORED, "all").index) == list(range(300))
    assert (rules.choose(SCORED, "all positive")["score"] > 0).all()
    assert list(rules.choose(SCORED, "top 100").index) == list(range(200, 300))
    assert list(rules.choose(SCORED, "bottom 100").index) == list(range(100))
    assert list(rules.choose(SCORED, "top 100 by gradient product").index) == list(range(100))


def test_random_choice_depends_on_the_seed_alone():
    first, second, other = (rules.choose(SCORED, "100 random", seed) for seed in (0, 0, 1))
    assert first.equals(second) and not first.equals(other) and first.index.is_monotonic_increasing


def test_unknown_and_empty_rules_are_refused():
    with pytest.raises(DataError, match="choose one of train alone, all"):
        rules.choose(SCORED, "best")
    with pytest.raises(DataError, match="no score is positive"):
        rules.choose(SCORED.assign(score=-1.0), "all positive")


@pytest.mark.parametrize("rule", [*rules.ADDING, *rules.REMOVING])
def test_every_rule_makes_a_training_table(stages_here, rule, monkeypatch):
    cfg = settings("smoke", limit=16, epochs=1, influence_depth=2, influence_batch_size=8, shapley_subset=8)
    secondary = selection.secondary_table(cfg).assign(corrupted=np.arange(16) % 2 == 0)
    ran = []
    monkeypatch.setattr(selection, "run_stage", lambda kind, *rest: ran.append(kind) or stages.run_stage(kind, *rest))
    table = rules.training_table(cfg, secondary, rule)
    assert list(table) == ["smiles", "label"] and list(table.index) == list(range(len(table)))
    assert {kind.name for kind in ran} - {"pooled"} == {kind.name for kind in rules.stages_of(rule)}
    train, rest = selection.with_secondary(cfg, secondary.head(0)), secondary.loc[~secondary["corrupted"], "smiles"]
    expected = {"train alone": train["smiles"], "oracle": pd.concat([train["smiles"], rest])}
    if rule in expected:
        assert list(table["smiles"]) == list(expected[rule])


def test_an_unknown_rule_trains_nothing(stages_here, monkeypatch):
    monkeypatch.setattr(selection, "run_stage", None)
    cfg = settings("smoke", limit=16)
    with pytest.raises(DataError, match="unknown rule 'best'"):
        rules.training_table(cfg, selection.secondary_table(cfg), "best")
