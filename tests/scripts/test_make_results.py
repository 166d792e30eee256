"""Rows of results: added once, resumed, compared with today's settings, safe for two writers."""

import dataclasses
import multiprocessing
import sys

import numpy as np
import pandas as pd
import pytest

import results
import studies
import study
from molft_utils import settings
from molft_utils.cache import Kind
from molft_utils.experiments import pipeline, selection
from study import Run, add, read

TABLE = pd.DataFrame({"smiles": ["C", "CC", "CCC"], "label": [0.0, 1.0, 2.0]})
COMPUTED: list[int] = []


@dataclasses.dataclass(frozen=True)
class Fake:
    """A recipe that trains nothing; it says that it was run."""

    version: int = 1
    files = ()

    @property
    def kinds(self):
        return (Kind("fake", self.version, ("regression",)),)

    def row(self, cfg):
        COMPUTED.append(cfg.seed)
        return {"rmse": 0.5 + cfg.seed, "predictions": np.arange(16) / 3}


def fake(epochs=4, version=1):
    def runs():
        for seed in (0, 1, 2):
            cfg = settings("smoke", limit=16, seed=seed, epochs=epochs)
            yield Run("fake", {"variant": "a", "seed": seed}, cfg, Fake(version))

    return runs


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Call the command line, with one study, in an empty folder of results."""
    monkeypatch.setattr(study, "RESULTS", tmp_path)

    def call(*arguments, runs):
        monkeypatch.setattr(results, "STUDIES", {"fake": runs})
        monkeypatch.setattr(sys, "argv", ["results.py", *arguments])
        COMPUTED.clear()
        with pytest.raises(SystemExit) as end:
            results.main()
        return end.value.code

    return call


def test_missing_rows_are_added_and_the_others_stay(make):
    make(runs=fake())
    assert COMPUTED == [0, 1, 2]
    read("fake").query("seed != 1").to_csv(study.RESULTS / "fake.csv", index=False)  # as after an interruption
    make(runs=fake())
    assert COMPUTED == [1]
    table, predictions = read("fake"), read("fake_predictions")
    assert list(table) == ["variant", "seed", "rmse", "commit", "date", "settings"]
    assert table["seed"].tolist() == [0, 1, 2] and table["settings"].str.fullmatch("[0-9a-f]{12}").all()
    assert list(predictions) == ["smiles", "label", "a/0", "a/1", "a/2"] and len(predictions) == 16


def test_rows_of_other_settings_or_code_are_listed_and_not_computed_again(make, capsys):
    make(runs=fake())
    assert make("--check", runs=fake()) == 0 and not COMPUTED
    for other in (fake(epochs=5), fake(version=2)):
        capsys.readouterr()
        assert make("--check", runs=other) == "3 rows differ"
        assert capsys.readouterr().out.count("today") == 3 and not COMPUTED
        make(runs=other)
        assert not COMPUTED
    (study.RESULTS / "fake.csv").unlink()
    assert make("--check", runs=fake()) == "3 rows differ" and "missing" in capsys.readouterr().out


def writer(folder, variant):
    study.RESULTS = folder
    for seed in range(5):
        key = {"variant": variant, "seed": seed}
        add("t", key, {"rmse": 1.0}, "0" * 12, TABLE.assign(**{f"{variant}/{seed}": 1.0}))


def test_two_writers_lose_nothing_and_no_digit(tmp_path, monkeypatch):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=writer, args=(tmp_path, name)) for name in ("a", "b")]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    assert [process.exitcode for process in writers] == [0, 0]
    assert len(read("t")) == 10 and read("t_predictions").shape == (3, 12)
    assert set(read("t")["settings"]) == {"0" * 12}
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".csv", ".lock")]


def test_a_row_takes_the_place_of_the_one_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    for rmse in (1.0, 2.0):
        add("t", {"damping": 1e-7, "seed": 0}, {"rmse": rmse}, "b" * 12)
    assert read("t")["rmse"].tolist() == [2.0]


def test_predictions_for_other_molecules_take_the_place_of_the_earlier_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    add("t", {"variant": "a", "seed": 0}, {}, "0", TABLE.assign(**{"a/0": 1.0}))
    add("t", {"variant": "a", "seed": 1}, {}, "0", TABLE.assign(label=[0.0, 1.0, 5.0], **{"a/1": 1.0}))
    assert list(read("t_predictions")) == ["smiles", "label", "a/1"]


RUNS = {name: list(runs()) for name, runs in studies.STUDIES.items()}


@pytest.mark.parametrize("name", studies.STUDIES)
def test_a_study_lists_each_row_once(name):
    keys = [tuple(run.key.values()) for run in RUNS[name]]
    assert keys and len(set(keys)) == len(keys) and len({tuple(run.key) for run in RUNS[name]}) == 1


def test_recipes_name_the_kinds_that_run():
    """The kernel's rows are not computed by LiSSA, whose version they must not depend on; and so on."""
    kinds = {run.recipe: {kind.name for one in run.recipe.kinds for kind in one.all()} for run in RUNS["lds_of_scores"]}
    for recipe, names in kinds.items():
        assert ("influence" in names) == (recipe.score == studies.HESSIAN)
        assert ("kernel" in names) == (recipe.score != studies.HESSIAN)
    for run in RUNS["selecting"]:
        assert selection.INFLUENCE not in run.recipe.kinds and pipeline.GRADED in run.recipe.kinds
        assert (selection.KERNEL in run.recipe.kinds) == (run.recipe.rule in studies.BY_KERNEL)
    grid = {run.key["variant"]: run.recipe.kinds for run in RUNS["grid"]}
    assert selection.INFLUENCE in grid["influence/lora"] and pipeline.LORA_AFTER_MLM in grid["influence/lora"]
    assert selection.SHAPLEY in grid["ts-dshapley/full"] and grid["none/full"] == grid["oracle/full"]


def test_digits_follow_the_learning_rate_of_the_method():
    run = next(run for run in RUNS["grid"] if run.key["variant"] == "none/lora")
    slower = dataclasses.replace(run, settings=run.settings.replace(lora_learning_rate=1e-3))
    other = dataclasses.replace(run, settings=run.settings.replace(bitfit_learning_rate=1e-3))
    assert slower.digits != run.digits == other.digits


def test_a_tiny_row_of_every_kind_of_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path))
    cfg = settings("smoke", limit=16, epochs=1)
    trained = studies.Trained("random", n_labels=8, columns=("rmse", "n_train")).row(cfg)
    assert trained["n_train"] == 8 and trained["rmse"] > 0
    columns = np.arange(len(studies.DESCRIPTORS), dtype=float)
    monkeypatch.setattr(
        studies, "described", lambda smiles: np.outer(np.arange(len(smiles)), columns)
    )  # they take long
    model = studies.Numbers("ridge on descriptors without logP", 12)
    assert 0.1 < model.row(cfg)["rmse"] < 3
    left_out = [
        list(studies.DESCRIPTORS)[i] for i in set(columns.astype(int)) - set(model.numbers(TABLE[1:])[0].astype(int))
    ]
    assert "MolLogP" in left_out and "MolWt" not in left_out
    dropping = studies.Dropping("lost sign", 0.5, "loss").row(cfg)
    assert dropping["n_dropped"] == round(0.5 * 11) and 0 <= dropping["auroc"] <= 1 and dropping["n_train"] == 10
