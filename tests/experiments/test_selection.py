"""The stages that score and value training data."""

import numpy as np
import pytest

from molft_utils import DataError, settings
from molft_utils.evaluation import auroc, report_table3, report_table4
from molft_utils.experiments import pipeline, selection, stages


@pytest.fixture
def stages_here(tmp_path):
    with stages.in_folder(tmp_path):
        yield


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


def test_area_under_the_curve_with_its_interval():
    marked = np.arange(100) < 30
    assert auroc(marked, marked)[0] == 1.0
    area, low, high = auroc(marked, np.random.default_rng(0).normal(size=100))
    assert low < 0.5 < high and low < area < high
    with pytest.raises(DataError, match="positive and negative"):
        auroc(np.ones(3, bool), np.arange(3))


def test_the_reports_tables_by_our_names():
    table = report_table3().pivot(index="selection", columns="method", values="rmse")
    assert table.loc["influence", "full"] == 0.9426 and table.loc["ts-dshapley", "bitfit"] == 2.3313
    assert table.shape == (3, 4)
    assert report_table4().to_dict() == {"full": 29, "bitfit": 18, "lora": 18, "ia3": 23}
