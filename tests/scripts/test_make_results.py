"""Rows of results: added once, resumed, compared with today's settings, safe for two writers."""

import dataclasses
import itertools
import multiprocessing
import sys

import numpy as np
import pandas as pd
import pytest

import memory
import results
import studies
import study
from molft_utils import scores, settings
from molft_utils.cache import Kind
from molft_utils.experiments import pipeline, selection
from study import Run, add, read

TABLE = pd.DataFrame({"smiles": ["C", "CC", "CCC"], "label": [0.0, 1.0, 2.0]})
COMPUTED: list[int] = []


@dataclasses.dataclass(frozen=True)
class Fake:
    version: int = 1
    files = ()

    @property
    def kinds(self):
        return (Kind("fake", self.version, ("regression",)),)

    def row(self, cfg):
        COMPUTED.append(cfg.seed)
        return {"rmse": 0.5 + cfg.seed, "predictions": np.arange(16) / 3}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Call the command line, with one study, in an empty folder of results."""
    monkeypatch.setattr(study, "RESULTS", tmp_path)

    def call(*arguments, version=1, **changed):
        base = settings("smoke", limit=16, **changed)
        runs = [Run("fake", {"variant": "a", "seed": i}, base.replace(seed=i), Fake(version)) for i in (0, 1, 2)]
        monkeypatch.setattr(results, "STUDIES", {"fake": lambda: runs})
        monkeypatch.setattr(sys, "argv", ["results.py", *arguments])
        COMPUTED.clear()
        with pytest.raises(SystemExit) as end:
            results.main()
        return end.value.code

    return call


def test_missing_rows_are_added_and_the_others_stay(make):
    make()
    assert COMPUTED == [0, 1, 2]
    read("fake").query("seed != 1").to_csv(study.RESULTS / "fake.csv", index=False)  # as after an interruption
    make()
    assert COMPUTED == [1]
    table, predictions = read("fake"), read("fake_predictions")
    assert list(table) == ["variant", "seed", "rmse", "commit", "date", "settings"]
    assert table["seed"].tolist() == [0, 1, 2] and table["settings"].str.fullmatch("[0-9a-f]{12}").all()
    assert list(predictions) == ["smiles", "label", "a/0", "a/1", "a/2"] and len(predictions) == 16


def test_rows_of_other_settings_or_code_are_listed_and_not_computed_again(make, capsys):
    make()
    assert make("--check") == 0 and not COMPUTED
    for other in ({"epochs": 5}, {"version": 2}):
        assert make("--check", **other) == "3 rows differ" and not COMPUTED
        assert make(**other) == 0 and not COMPUTED
    (study.RESULTS / "fake.csv").unlink()
    capsys.readouterr()
    assert make("--check") == "3 rows differ" and capsys.readouterr().out.count("missing") == 3


def writer(folder, variant):
    study.RESULTS = folder
    for seed in range(5):
        add("t", {"variant": variant, "seed": seed}, {}, "0" * 12, TABLE.assign(**{f"{variant}/{seed}": 1.0}))


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
    assert set(read("t")["settings"]) == {"0" * 12}  # and no number


def test_a_row_takes_the_place_of_the_one_with_its_key_and_other_molecules_that_of_earlier_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    for rmse in (1.0, 2.0):
        predictions = TABLE.assign(label=rmse, **{f"a/{rmse}": 0.0})
        add("t", {"damping": 1e-7, "seed": 0}, {"rmse": rmse}, "b" * 12, predictions)
    assert read("t")["rmse"].tolist() == [2.0] and list(read("t_predictions")) == ["smiles", "label", "a/2.0"]


RUNS = {name: list(runs()) for name, runs in studies.STUDIES.items()}


def test_a_study_lists_each_row_once():
    for runs in RUNS.values():
        assert runs and len({tuple(run.key.items()) for run in runs}) == len(runs)


def test_recipes_name_the_kinds_that_run():
    """The kernel's rows are not computed by LiSSA, whose version they must not depend on; and so on."""
    for recipe in {run.recipe for run in RUNS["lds_of_scores"]}:
        assert (selection.INFLUENCE in recipe.kinds) == (recipe.score == studies.HESSIAN)
        assert (selection.KERNEL in recipe.kinds) == (recipe.score != studies.HESSIAN)
    for run in RUNS["selecting"]:
        assert selection.INFLUENCE not in run.recipe.kinds and pipeline.GRADED in run.recipe.kinds
        assert (selection.KERNEL in run.recipe.kinds) == (run.recipe.rule in studies.BY_KERNEL)
    grid = {run.key["variant"]: run.recipe.kinds for run in RUNS["grid"]}
    assert selection.INFLUENCE in grid["influence/lora"] and pipeline.LORA_AFTER_MLM in grid["influence/lora"]
    assert selection.SHAPLEY in grid["ts-dshapley/full"] and grid["none/full"] == grid["oracle/full"]


def test_both_rules_for_the_learning_rate_are_run_where_they_differ():
    """The one standard error rule came later, and the first one must stay in the record."""
    rates = {run.key["variant"]: run.settings.learning_rate for run in RUNS["fair"]}
    earlier = {variant: rate for variant, rate in rates.items() if variant.endswith("lowest error")}
    assert earlier == {f"{name}, 4 epochs, lowest error": 3e-3 for name in ("full", "lora-all, r = 64")}
    assert {rates[variant.removesuffix(", lowest error")] for variant in earlier} == {1e-3}


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
    names = np.arange(len(studies.DESCRIPTORS), dtype=float)
    monkeypatch.setattr(studies, "described", lambda smiles: np.outer(np.arange(len(smiles)), names))  # it takes long
    model = studies.Numbers("ridge on descriptors without logP", 12, columns=("rmse", "predictions"))
    row, test = model.row(cfg), pipeline.tables(cfg).test
    assert 0.1 < row["rmse"] < 3 and row["rmse"] == scores(test["label"], row["predictions"]).rmse
    assert len(names) - model.numbers(TABLE).shape[1] == len(studies.COMPUTED_LOGP)
    dropping = studies.Dropping("lost sign", 0.5, "loss").row(cfg)
    assert dropping["n_dropped"] == round(0.5 * 11) and 0 <= dropping["auroc"] <= 1 and dropping["n_train"] == 10
    control = studies.Dropping("lost sign", 0.5, studies.CLEAN_AND_VALIDATION).row(cfg)
    assert control["n_train"] == 5 + 16 and control["epochs"] == 1 and np.isnan(control["validation_rmse"])


def test_values_made_by_labels_in_another_unit_are_other_values(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path))
    cfg, rows = settings("smoke", epochs=1), {}
    for share, rule in itertools.product((0.0, 1.0), studies.VALUES):
        rows[rule, share] = studies.Valuing(rule, share).row(cfg)
    noisy = studies.noisy_labels.draw_pool(cfg, *studies.NATURAL_FIFTH)
    by_rule = studies.rules.rule_values(studies.rules.RuleInputs(cfg, noisy.clean, noisy.pool), "KNN-Shapley")
    assert rows["KNN-Shapley", 0.0]["auroc"] == studies.auroc(noisy.pool["corrupted"], -by_rule)[0]
    assert all(rows[rule, 0.0]["auroc"] != rows[rule, 1.0]["auroc"] for rule in studies.VALUES)


def test_memory_is_counted_and_its_peak_measured_in_another_process():
    row = memory.StepMemory("mini", "bitfit").row(settings("smoke"))
    assert row["trained"] == 4865 and row["optimiser"] == pytest.approx(12 * 4865 / 1e6)
    assert 4 < row["peak"] < 2000  # weights alone have 3 MB
