"""Rules of selection, and the stages that score."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError, settings
from molft_utils.evaluation import auroc, report_table3, report_table4
from molft_utils.experiments import pipeline, selection, stages


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
    assert len(selection.choose(SCORED, "train alone")) == 0
    assert list(selection.choose(SCORED, "all").index) == list(range(300))
    assert (selection.choose(SCORED, "all positive")["score"] > 0).all()
    assert list(selection.choose(SCORED, "top 100").index) == list(range(200, 300))
    assert list(selection.choose(SCORED, "bottom 100").index) == list(range(100))
    assert list(selection.choose(SCORED, "top 100 by gradient product").index) == list(range(100))


def test_random_choice_depends_on_the_seed_alone():
    first, second, other = (selection.choose(SCORED, "100 random", seed) for seed in (0, 0, 1))
    assert first.equals(second) and not first.equals(other) and first.index.is_monotonic_increasing


def test_unknown_and_empty_rules_are_refused():
    with pytest.raises(DataError, match="choose one of train alone, all"):
        selection.choose(SCORED, "best")
    with pytest.raises(DataError, match="no score is positive"):
        selection.choose(SCORED.assign(score=-1.0), "all positive")


def test_targets_are_chosen_by_name(stages_here):
    cfg = settings("smoke", limit=16, epochs=1, influence_depth=2, influence_batch_size=8)
    extra = selection.secondary_table(cfg)
    with pytest.raises(DataError, match="choose 'validation'"):
        selection.influence(cfg, extra, target="train")
    honest, leaky = (selection.influence(cfg, extra, target=t) for t in ("validation", "test"))
    assert "LEAK" in str(leaky) and "LEAK" not in str(honest)
    assert not np.allclose(honest.scores, leaky.scores)
    again = selection.influence(cfg, extra)
    assert np.allclose(again.scores, honest.scores) and str(again) == str(honest)
    assert again.direction.direction.keys() == honest.direction.direction.keys()
    assert again.direction.damping == honest.direction.damping > 0
    assert list(again.table.index) == list(honest.table.index)


def test_candidates_that_no_model_saw(stages_here):
    cfg = settings("smoke", limit=16, epochs=1, influence_depth=2, influence_batch_size=8)
    extra = selection.secondary_table(cfg)
    others = selection.secondary_table(cfg.replace(limit=30)).tail(5)
    scored = selection.influence(cfg, extra, candidates=others)
    assert scored.table["smiles"].sort_values().tolist() == others["smiles"].sort_values().tolist()
    same = selection.influence(cfg, extra, candidates=extra.head(3))
    assert np.allclose(same.scores, selection.influence(cfg, extra).scores[:3], rtol=1e-3, atol=1e-5)


def test_a_kernel_is_kept(stages_here, monkeypatch):
    cfg = settings("smoke", limit=16, epochs=1)
    train = selection.with_secondary(cfg, selection.secondary_table(cfg))
    fit, queries = pipeline.after_mlm(cfg, train, early_stopping=False), pipeline.tables(cfg).test
    found = selection.kernel(fit, train, queries)
    assert found.train.shape == (32, 32) and found.cross.shape == (16, 32)
    monkeypatch.setattr(selection, "influence_kernel", None)  # so that a second computation would fail
    assert np.array_equal(selection.kernel(fit, train, queries).train, found.train)


def test_a_selection_by_values_drops_the_lowest_and_as_many_at_random(stages_here):
    cfg = settings("smoke", limit=16, epochs=1, shapley_subset=8)
    valued = selection.shapley(cfg, selection.secondary_table(cfg))
    assert len(valued.table) == 32 and valued.table["secondary"].sum() == 16
    few = valued.table["value"].nsmallest(5).index
    valued = selection.ShapleyResult(**{**vars(valued), "n_drop": 5})
    assert set(valued.table.index) - set(valued.kept().index) == set(few)
    assert valued.kept_without_highest()["value"].max() < valued.table["value"].nlargest(5).min()
    assert len(valued.kept_at_random(0)) == 27 and not valued.kept_at_random(0).equals(valued.kept_at_random(1))


@pytest.mark.parametrize("rule", [*selection.ADDING, *selection.REMOVING])
def test_every_rule_makes_a_training_table(stages_here, rule, monkeypatch):
    cfg = settings("smoke", limit=16, epochs=1, influence_depth=2, influence_batch_size=8, shapley_subset=8)
    secondary = selection.secondary_table(cfg).assign(corrupted=np.arange(16) % 2 == 0)
    ran = []
    monkeypatch.setattr(selection, "run_stage", lambda kind, *rest: ran.append(kind) or stages.run_stage(kind, *rest))
    table = selection.training_table(cfg, secondary, rule)
    assert list(table) == ["smiles", "label"] and list(table.index) == list(range(len(table)))
    assert {kind.name for kind in ran} - {"pooled"} == {kind.name for kind in selection.stages_of(rule)}
    train, rest = selection.with_secondary(cfg, secondary.head(0)), secondary.loc[~secondary["corrupted"], "smiles"]
    expected = {"train alone": train["smiles"], "oracle": pd.concat([train["smiles"], rest])}
    if rule in expected:
        assert list(table["smiles"]) == list(expected[rule])


def test_an_unknown_rule_trains_nothing(stages_here, monkeypatch):
    monkeypatch.setattr(selection, "run_stage", None)
    cfg = settings("smoke", limit=16)
    with pytest.raises(DataError, match="unknown rule 'best'"):
        selection.training_table(cfg, selection.secondary_table(cfg), "best")


def test_area_under_the_curve_with_its_interval():
    marked = np.arange(100) < 30
    assert auroc(marked, marked)[0] == 1.0
    area, low, high = auroc(marked, np.random.default_rng(0).normal(size=100))
    assert low < 0.5 < high and low < area < high
    with pytest.raises(DataError, match="marked and unmarked"):
        auroc(np.ones(3, bool), np.arange(3))


def test_the_reports_tables_by_our_names():
    table = report_table3().pivot(index="selection", columns="method", values="rmse")
    assert table.loc["influence", "full"] == 0.9426 and table.loc["ts-dshapley", "bitfit"] == 2.3313
    assert table.shape == (3, 4)
    assert report_table4().to_dict() == {"full": 29, "bitfit": 18, "lora": 18, "ia3": 23}
