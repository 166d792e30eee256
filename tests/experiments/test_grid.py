"""The grid: every cell once, whatever happens to the process."""

import json
import multiprocessing
import os
import random
import time

import numpy as np
import pandas as pd
import pytest

from molft_utils import SettingsError, settings
from molft_utils.experiments import grid
from molft_utils.experiments.grid import run_grid

SMALL = dict(
    limit=24, epochs=2, influence_depth=8, influence_batch_size=8, shapley_subset=12, shapley_chains=8,
    shapley_permutations=2,
)  # fmt: skip
NUMBERS = ["rmse", "validation_rmse", "n_train", "trained", "total", "epochs"]
TWO = dict(selections=["none"], methods=["full", "lora"])


def small_grid(folder, **options) -> pd.DataFrame:
    os.environ["MOLFT_STAGES"] = str(folder)  # children of a test see it, and the fixture ``stages`` puts it back
    return run_grid(settings("smoke", **SMALL), **options)


@pytest.fixture(scope="module")
def twelve(stages):
    return small_grid(stages)


def require_same(table, expected) -> None:
    assert np.allclose(table[NUMBERS].astype(float), expected[NUMBERS].astype(float), atol=1e-4)


def test_twelve_cells_with_what_they_cost(twelve):
    assert len(twelve) == 12
    assert not twelve["reused"].any()
    assert twelve["rmse"].between(0.1, 10).all() and (twelve["peak_memory"] > 50).all()
    trained = twelve.groupby("method")["trained"].agg(["min", "max"])
    assert (trained["min"] == trained["max"]).all()
    assert trained["min"].sort_values().index.tolist() == ["ia3", "bitfit", "lora", "full"]
    n_train = twelve.groupby("selection")["n_train"].first()
    assert n_train["none"] == 48 > n_train["ts-dshapley"] and n_train["influence"] == 24 + 8  # a third of 24


def test_a_second_run_trains_nothing_loads_no_model_and_gives_the_same(twelve, stages, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a finished cell needs no model")

    monkeypatch.setattr("molft_utils.experiments.pipeline.finetune", refuse)
    monkeypatch.setattr("molft_utils.experiments.pipeline.load_model", refuse)
    again = small_grid(stages)
    assert again["reused"].all()
    pd.testing.assert_frame_equal(again.drop(columns="reused"), twelve.drop(columns="reused"))


def test_a_selection_is_made_once_for_all_its_cells(stages, twelve, monkeypatch):
    calls, make = [], grid.rules.training_table
    monkeypatch.setattr(grid.rules, "training_table", lambda *given: calls.append(given) or make(*given))
    small_grid(stages, selections=["influence"])
    assert len(calls) == 1


def test_the_table_by_selection_and_method(twelve):
    table = grid.summary(twelve)
    assert table.shape == (3, 4) and list(table.columns) == ["full", "bitfit", "lora", "ia3"]


def test_a_changed_setting_starts_a_new_row_and_says_why(twelve, capsys):
    changed = run_grid(settings("smoke", **SMALL, bitfit_learning_rate=2e-2), ["none"], ["bitfit"])
    assert not changed["reused"].any()
    assert "settings.learning_rate: 0.01 -> 0.02" in capsys.readouterr().err


def test_two_workers_give_the_same_table_and_keep_their_results_where_they_are_told(twelve, tmp_path):
    both = small_grid(tmp_path, **TWO, n_jobs=2)
    assert len(list(tmp_path.glob("graded-*/record.json"))) == 2
    require_same(both, twelve.query("selection == 'none' and method in ('full', 'lora')"))
    # The same workers again, which started with the first folder in their environment.
    elsewhere = small_grid(tmp_path / "elsewhere", selections=["none"], methods=["ia3"], n_jobs=2)
    assert len(list((tmp_path / "elsewhere").glob("graded-*/record.json"))) == 1 and not elsewhere["reused"].any()


def test_unknown_names_are_refused():
    with pytest.raises(SettingsError, match="unknown prompt; choose from full"):
        run_grid(settings("smoke"), methods=["prompt"])
    with pytest.raises(SettingsError, match="unknown guess"):
        run_grid(settings("smoke"), selections=["guess"])


# Killed at any moment


def finished(folder) -> dict:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*[0-9a-f]/record.json")}


def require_whole_and_once(folder, seen) -> dict:
    now = finished(folder)
    assert all(now.get(name) == written for name, written in seen.items())  # nothing was run twice
    for name in now:
        json.loads((folder / name / "record.json").read_text())  # nothing was half written
    return now


def processes():
    """Children that start with everything imported, and no thread of this process in them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["molft_utils.experiments"])
    warm = context.Process(target=os.getpid)
    warm.start()
    warm.join()
    return context


def run_row(folder) -> None:
    small_grid(folder, selections=["none"])


def test_killed_three_times_the_grid_gives_the_same_table(twelve, tmp_path):
    context, rng, seen = processes(), random.Random(0), {}
    for _ in range(3):
        process = context.Process(target=run_row, args=(tmp_path,))
        process.start()
        while process.exitcode is None and len(finished(tmp_path)) <= len(seen):
            time.sleep(0.02)  # let it finish one more result, and then strike at any moment
        process.join(rng.uniform(0, 0.4))
        assert process.exitcode is None, "the grid was done before the last kill"
        process.kill()
        process.join()
        seen = require_whole_and_once(tmp_path, seen)
    table = small_grid(tmp_path, selections=["none"])
    require_whole_and_once(tmp_path, seen)
    require_same(table, twelve.query("selection == 'none'"))
