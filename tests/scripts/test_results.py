"""Results of record: complete, quoted as they stand, safe for two writers."""

import multiprocessing

import nbformat
import pandas as pd
import pytest

from molft_utils import DataError, scores, settings
from molft_utils.evaluation import (
    best_rate,
    built_in_scores,
    of_record,
    record_labels_difference,
    record_selection_difference,
    records,
)
from molft_utils.experiments import doubtful, selection
from molft_utils.files import DATA_FOLDER, ROOT
from molft_utils.making import results, sweep_study, variants
from molft_utils.profiles import EVERY_METHOD

RECORDED = ("table1", "table2", "shapley", "grid")
TABLE = pd.DataFrame({"smiles": ["C", "CC", "CCC"], "label": [0.0, 1.0, 2.0]})


@pytest.mark.parametrize("table", RECORDED)
def test_recorded_errors_follow_from_the_recorded_predictions(table):
    rows = pd.read_csv(DATA_FOLDER / "results" / f"{table}.csv")
    predictions = pd.read_csv(DATA_FOLDER / "results" / f"{table}_predictions.csv")
    assert len(predictions) == 840
    for row in rows.itertuples():
        found = scores(predictions["label"], predictions[f"{row.variant}/{row.seed}"])
        assert found.rmse == pytest.approx(row.rmse, abs=1e-3)


def pinned(inputs: dict) -> dict:
    """The inputs with the libraries' versions of constraints.txt, with which records are made, whatever runs here."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {**inputs, "libraries": {name: pins[name] for name in inputs["libraries"]}}


@pytest.mark.parametrize("maker", list(results.MAKERS))
def test_make_results_has_nothing_left_to_do(maker, monkeypatch):
    """All rows are there, of the settings, data, checkpoints, code and libraries of today; and there are no others."""
    is_recorded, asked = records.is_recorded, {}

    def must_be_recorded(table, key, inputs, *column):
        asked.setdefault(table, []).append(key)
        elsewhere = inputs["libraries"] != pinned(inputs)["libraries"]
        if not (elsewhere and any(str(part).startswith("random") for part in key.values())):
            # Random weights are written here, and their configuration names the installed transformers.
            assert is_recorded(table, key, pinned(inputs), *column), (table, key)
        return True

    monkeypatch.setattr(records, "is_recorded", must_be_recorded)
    results.MAKERS[maker]([], results.SEEDS, 1)
    for table, keys in asked.items():
        rows, columns = records.read(table), list(keys[0])
        assert rows["commit"].str.fullmatch("[0-9a-f]{12}").all()
        if table != "lds":  # the rows of a seed's model go with its row of the table "influence"
            assert set(rows[columns].itertuples(index=False, name=None)) == {tuple(key.values()) for key in keys}


@pytest.mark.parametrize("table", RECORDED)
def test_readme_quotes_the_record(table):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for variant, row in of_record.record(table).iterrows():
        assert f"{row['mean']:.3f} ± {row['sd']:.3f}" in readme, variant


def test_readme_says_how_long_the_record_took():
    hours = {table: records.read(table)["seconds"].sum() / 3600 for table in (*results.MAKERS, "method_labels")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{sum(hours.values()):.0f} hours of one core, {hours['sweep']:.0f} of them the sweep" in readme


@pytest.mark.parametrize(
    "table, name",
    [("table1", "03_mlm"), ("table2", "04_influence"), ("shapley", "05_tsdshapley"), ("grid", "06_peft_grid")],
)
def test_notebooks_show_the_record(table, name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    text = "\n".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
    for variant, row in of_record.record(table).iterrows():
        assert f"{row['mean']:.3f}" in text, variant


@pytest.mark.parametrize("name", ["full", "bitfit", "ia3", "lora, r = 4", "lora-all, r = 4"])
def test_profiles_have_the_rates_of_the_sweep(name):
    method = sweep_study.SWEPT[name].method
    assert settings("class").of_method(method).learning_rate == pytest.approx(best_rate(name, 4))
    if name != "full":  # `best` reads random SMILES, with which full fine-tuning has a rate of its own
        best = settings("best", checkpoint="mini").of_method(method)
        assert best.learning_rate == pytest.approx(best_rate(name, best.regression.epochs))


def test_values_find_labels_in_another_unit_and_dropping_them_pays():
    ahead = record_selection_difference("natural logarithm", 0.2, "TS-DShapley", "keep all")
    behind = record_selection_difference("natural logarithm", 0.2, "TS-DShapley", "oracle")
    assert ahead.interval[1] < -0.1 and behind.value < 0.03


def test_the_damping_is_the_best_on_validation():
    rows = records.read("lds")
    scores = rows[rows["score"] == "Gauss-Newton"]
    assert scores.groupby("damping")["validation"].mean().idxmax() == selection.KERNEL_DAMPING
    assert built_in_scores().loc["Gauss-Newton", "damping"] == selection.KERNEL_DAMPING
    assert set(scores["seed"]) == set(results.SEEDS)


def test_the_shipped_score_predicts_retraining():
    board = built_in_scores()["LDS"]
    assert board["Gauss-Newton"] >= 0.25 and board["Gauss-Newton"] >= 4 * board["gradient product"]
    assert abs(board["random"]) < 0.02


def test_lissa_agrees_with_the_kernel_on_record():
    rows = records.read("influence")
    assert set(rows["seed"]) == set(results.SEEDS)
    assert (rows["rank_correlation"] >= 0.99).all()
    assert (rows["overhead"] <= rows["products"] / 2).all()


def add(variant: str) -> None:
    for seed in range(5):
        records.add(
            "t", {"variant": variant, "seed": seed}, {"rmse": 1.0}, {}, TABLE.assign(**{f"{variant}/{seed}": 1.0})
        )


def test_two_writers_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(pd.read_csv(tmp_path / "t.csv")) == 10
    assert pd.read_csv(tmp_path / "t_predictions.csv").shape == (3, 12)


def test_a_row_is_replaced_and_not_doubled(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for rmse in (1.0, 2.0):
        records.add("t", {"variant": "a", "seed": 0}, {"rmse": rmse}, {})
    assert pd.read_csv(tmp_path / "t.csv")["rmse"].tolist() == [2.0]


def test_a_missing_table_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    with pytest.raises(DataError, match="make results"):
        of_record.record("table1")


def test_a_row_is_on_record_for_the_same_inputs_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    key = {"variant": "a", "seed": 0}
    assert not records.is_recorded("t", key, {"epochs": 4})
    records.add("t", key, {"rmse": 1.0}, {"epochs": 4})
    assert records.is_recorded("t", key, {"epochs": 4})
    assert not records.is_recorded("t", {**key, "seed": 1}, {"epochs": 4})
    assert not records.is_recorded("t", key, {"epochs": 5, "n_random": 1})
    assert "run again: epochs: 4 -> 5; n_random: (absent) -> 1" in capsys.readouterr().out


def test_a_row_without_its_predictions_is_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    key = {"variant": "a", "seed": 0}
    records.add("t", key, {"rmse": 1.0}, {}, TABLE.assign(**{"a/0": 1.0}))
    assert records.is_recorded("t", key, {}, column="a/0")
    (tmp_path / "t_predictions.csv").unlink()
    assert not records.is_recorded("t", key, {}, column="a/0")
    assert "predictions are lost" in capsys.readouterr().out


def test_predictions_for_other_molecules_are_not_put_beside_the_old_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    records.add("t", {"variant": "a", "seed": 0}, {"rmse": 1.0}, {}, TABLE.assign(**{"a/0": 1.0}))
    corrected = TABLE.assign(label=[0.0, 1.0, 5.0])
    records.add("t", {"variant": "a", "seed": 1}, {"rmse": 1.0}, {}, corrected.assign(**{"a/1": 1.0}))
    written = pd.read_csv(tmp_path / "t_predictions.csv")
    assert list(written) == ["smiles", "label", "a/1"] and list(written["label"]) == [0.0, 1.0, 5.0]
    assert "have changed" in capsys.readouterr().out


def test_a_seed_is_paired_with_itself_whatever_the_order_of_the_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    columns = {"a/0": 1.0, "a/1": 3.0, "b/1": 3.1, "b/0": 1.1}
    TABLE.assign(**columns).to_csv(tmp_path / "t_predictions.csv", index=False)
    low, high = of_record.record_difference("t", "b", "a").interval
    TABLE.assign(**dict(sorted(columns.items()))).to_csv(tmp_path / "t_predictions.csv", index=False)
    assert of_record.record_difference("t", "b", "a").interval == (low, high) and high - low < 2
    TABLE.assign(**columns, **{"c/2": 1.0, "c/0": 1.0}).to_csv(tmp_path / "t_predictions.csv", index=False)
    with pytest.raises(DataError, match=r"c has the seeds \[0, 2\] and a \[0, 1\]"):
        of_record.record_difference("t", "c", "a")
    with pytest.raises(DataError, match="holds no run of 'd'"):
        of_record.record_difference("t", "d", "a")


QUOTED = [
    ("table1", "after-mlm", "baseline"),
    ("table1", "baseline", "random-weights"),
    ("table1", "descriptors", "baseline"),
    ("table1", "descriptors-best", "best"),
    *(("table2", name, "train alone") for name in variants.TABLES["table2"] if name != "train alone"),
    *(("shapley", name, "all") for name in variants.TABLES["shapley"] if name != "all"),
    ("table2", "top 100, test target", "top 100"),
    ("shapley", "ts-dshapley", "random removal"),
    *(("grid", f"none/{method}", "none/full") for method in EVERY_METHOD if method != "full"),
    *(
        ("fair", f"{name}, {epochs} epochs", f"full, {epochs} epochs")
        for epochs in sweep_study.EPOCHS
        for name in sweep_study.SWEPT
        if name != "full"
    ),
]


@pytest.mark.parametrize("table, a, b", QUOTED)
def test_readme_quotes_the_differences(table, a, b):
    difference = of_record.record_difference(table, a, b)
    quoted = f"{difference.value:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert quoted.replace("-", "−") in readme


WORTH = [
    (3024, "mini-descriptors", "SVR on descriptors"),
    (300, "mini-descriptors", "SVR on ECFP4"),
]


@pytest.mark.parametrize("labels, a, b", WORTH)
def test_readme_quotes_what_labels_are_worth(labels, a, b):
    difference = record_labels_difference(labels, a, b)
    low, high = sorted(abs(bound) for bound in difference.interval)
    quoted = f"{abs(difference.value):.3f} [{low:.3f}, {high:.3f}]"
    assert quoted in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


PAYS = [
    ("natural logarithm", 0.2, "TS-DShapley", "keep all"),
    ("natural logarithm", 0.2, "TS-DShapley", "oracle"),
    ("natural logarithm", 0.2, "influence", "keep all"),
    ("lost sign", 0.2, "influence", "keep all"),
    ("lost sign", 0.2, "influence", "oracle"),
    ("permuted", 0.2, "oracle", "keep all"),
    (doubtful.MEASURED, 1.0, "influence", "keep all"),
    (doubtful.MEASURED, 1.0, "influence", "trusted only"),
]


@pytest.mark.parametrize("kind, share, a, b", PAYS)
def test_readme_quotes_when_selection_pays(kind, share, a, b):
    difference = record_selection_difference(kind, share, a, b)
    quoted = f"{difference.value:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
    assert quoted.replace("-", "−") in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_models_are_compared_by_the_seeds_that_both_have(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for model, shift in (("a", 0.0), ("b", 0.1)):
        for seed in range(3 if model == "a" else 4):
            records.add("labels", {"model": model, "labels": 50, "seed": seed}, {"rmse": seed + shift}, {})
    found = record_labels_difference(50, "b", "a")
    assert found.value == pytest.approx(0.1) and found.interval == pytest.approx((0.1, 0.1))
    with pytest.raises(DataError, match="0 seeds in common for 100 labels; two are needed"):
        record_labels_difference(100, "b", "a")
