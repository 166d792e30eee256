"""Reported results summed up; the report's numbers; a class's submissions."""

import numpy as np
import pandas as pd
import pytest

from molft_utils import DataError
from molft_utils.evaluation import (
    difference,
    load_results,
    load_submissions,
    mean_gap,
    paired_gaps,
    read_report,
    results,
    submit,
    summary,
    sweep,
)

MOLECULES = pd.DataFrame({"smiles": ["C", "CC", "CCC"], "label": [0.0, 1.0, 2.0]})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of results."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return tmp_path


# Tables


@pytest.mark.parametrize("table", ["table1", "table2", "shapley", "grid", "fair"])
def test_reported_errors_follow_from_the_reported_predictions(table):
    predictions = load_results(f"{table}_predictions")
    assert len(predictions) == 840
    for row in load_results(table).itertuples():
        errors = predictions[f"{row.variant}/{row.seed}"] - predictions["label"]
        assert np.sqrt((errors**2).mean()) == pytest.approx(row.rmse, abs=1e-3)


def test_digits_of_settings_and_commits_stay_text_and_a_missing_table_names_the_command(folder):
    (folder / "t.csv").write_text("variant,seed,rmse,commit,settings\na,0,1,012345678901,12e345678901\n")
    assert load_results("t")[["commit", "settings"]].iloc[0].tolist() == ["012345678901", "12e345678901"]
    with pytest.raises(DataError, match=r"no nothing\.csv; `make results` makes it\. There are: t"):
        load_results("nothing")


@pytest.mark.parametrize("more", [{"description": ["A", "A", "A again"]}, {"settings": "12e345678901", "date": "x"}])
def test_a_summary_has_the_t_interval_over_seeds(folder, more):
    rows = {"variant": "a", "seed": range(3), "rmse": [0.7, 0.8, 0.9], "seconds": [1.0, 2.0, 6.0]}
    pd.DataFrame(rows | more).to_csv(folder / "t.csv", index=False)
    found = summary("t")
    row = found.loc["a"]
    assert len(found) == 1 and row["seeds"] == 3 and row["seconds"] == 3
    assert row.get("description") == ("A" if "description" in more else None)
    assert (row["mean"], row["sd"]) == pytest.approx((0.8, 0.1))
    half_width = 4.302653 * 0.1 / 3**0.5  # Student's t, two degrees of freedom
    assert (row["low"], row["high"]) == pytest.approx((0.8 - half_width, 0.8 + half_width))
    by = summary("t", by=["variant", "seconds"])
    assert list(by["seconds"]) == [1, 2, 6] and by["low"].isna().all(), "one seed has no interval"


def test_a_variant_without_a_description_has_its_name(folder):
    (folder / "t.csv").write_text("variant,description,seed,rmse\na,A,0,1\na,A,1,1\nb,,0,1\nb,,1,1\n")
    assert summary("t")["description"].to_dict() == {"a": "A", "b": "b"}


def test_a_seed_is_paired_with_itself_whatever_the_order_of_the_runs(folder):
    keys = [("a", 0), ("a", 1), ("b", 1), ("b", 0), ("c", 2)]
    pd.DataFrame(keys, columns=["variant", "seed"]).assign(rmse=1.0).to_csv(folder / "t.csv", index=False)
    columns = {"a/0": 1.0, "a/1": 3.0, "b/1": 3.1, "b/0": 1.1, "c/2": 1.0}
    MOLECULES.assign(**columns).to_csv(folder / "t_predictions.csv", index=False)
    low, high = difference("t", "b", "a").interval
    assert high - low < 2
    MOLECULES.assign(**dict(sorted(columns.items()))).to_csv(folder / "t_predictions.csv", index=False)
    assert difference("t", "b", "a").interval == (low, high)
    with pytest.raises(DataError, match=r"no seed with both 'd' and 'a' .*it has a, b, c"):
        difference("t", "d", "a")


def test_models_are_compared_by_the_seeds_that_both_have(folder):
    rows = [("a", 50, seed, float(seed)) for seed in range(3)] + [("b", 50, seed, seed + 0.1) for seed in range(4)]
    rows += [("a", 100, 0, 1.0), ("b", 100, 0, 1.0)]
    pd.DataFrame(rows, columns=["model", "labels", "seed", "rmse"]).to_csv(folder / "t.csv", index=False)
    found = difference("t", "b", "a", labels=50)
    assert found.value == pytest.approx(0.1) and found.interval == pytest.approx((0.1, 0.1))
    with pytest.raises(DataError, match="needs two, and there are 1"):
        difference("t", "b", "a", labels=100)
    with pytest.raises(DataError, match="several rows of 'b' or 'a' with one seed"):
        difference("t", "b", "a")
    with pytest.raises(DataError, match="no column 'label'; it has model, labels"):
        difference("t", "b", "a", label=50)


#: Rate -> validation errors by seed. The single run at 1e-4 is lucky; the test errors are the negative ones.
SWEEP = {
    1e-4: [0.70],
    3e-4: [0.74, 0.80, 0.79],
    1e-3: [0.75, 0.76, 0.74],
    3e-3: [0.70, 0.75, 0.77],  # the lowest mean, and its standard error reaches 1e-3
    1e-2: [0.80, 0.85, 0.90],
}


def test_the_best_rate_is_that_of_validation_where_several_seeds_ran(folder):
    rows = [
        {"name": name, "epochs": 4, "rate": rate, "seed": seed, "validation_rmse": e, "rmse": -e, "trained": trained}
        for name, trained in (("small", 10), ("large", 100))
        for rate, errors in SWEEP.items()
        for seed, e in enumerate(errors)
    ]
    pd.DataFrame(rows).to_csv(folder / "sweep.csv", index=False)
    table = sweep()
    assert list(dict.fromkeys(table["name"])) == ["large", "small"], "what trains most comes first"
    best = table[table["best"]]
    assert list(best["rate"]) == [1e-3, 1e-3] and best["validation"].iloc[0] == pytest.approx(0.75)
    lowest = sweep(standard_errors=0)
    assert list(lowest.loc[lowest["best"], "rate"]) == [3e-3, 3e-3]


# The report


def test_the_report_is_quoted_as_it_stands():
    tables = read_report()
    assert tables["table1"]["rows"] == {"Baseline Regression Model": 1.1352, "Finetuned Regression Model": 1.1009}
    assert tables["table2"]["rows"]["Train + Secondary (top 100 positive)"] == 0.9426
    assert tables["table3"]["rows"]["Influence Method"]["BitFit"] == 2.6366
    assert tables["table4"]["rows"] == {"Full Fine-tuning": 29, "BitFit": 18, "LoRA": 18, "IA3": 23}


# Submissions


def rows_of(seed: int, a: float = 0.7, b: float = 0.8) -> pd.DataFrame:
    return pd.DataFrame({"cell": ["a", "b"], "seed": seed, "rmse": [a, b], "note": "mine"})


def test_what_a_class_submits_is_put_together(tmp_path):
    for student, seed in (("Ana", 3), ("Bo", 1), ("Cé", 2)):
        submit(rows_of(seed, 0.7 + 0.01 * seed), tmp_path / "class", student)
    rows = load_submissions(tmp_path / "class")
    assert list(rows) == ["cell", "seed", "rmse", "student"] and set(rows["student"]) == {"Ana", "Bo", "Cé"}
    gaps = paired_gaps(rows, "a", "b")
    assert list(gaps.index) == [1, 2, 3] and np.allclose(gaps, [-0.09, -0.08, -0.07])
    found = mean_gap(gaps)
    assert found.value == pytest.approx(-0.08)
    assert found.interval[0] == pytest.approx(-0.08 - 4.3027 * 0.01 / 3**0.5, abs=1e-5)
    with pytest.raises(DataError, match="needs two, and there are 1"):
        mean_gap(paired_gaps(pd.concat([rows_of(0), rows_of(1).head(1)]), "a", "b"))  # seed 1 has one cell


@pytest.mark.parametrize(
    ("rows", "student", "message"),
    [
        (rows_of(7, 0.61, 0.62), "Bo", "'Ana' has submitted seed 7; choose another"),
        (rows_of(8), "Ana", r"Ana\.csv is there with other rows; choose another name"),
        (rows_of(9), "../x", r"'\.\./x' cannot name a file"),
        (rows_of(9).drop(columns="rmse"), "Bo", "the rows: rmse is missing"),
        (rows_of(9, a=np.nan), "Bo", "the rows, row 2: the seed or the RMSE is no number"),
    ],
    ids=["a taken seed", "other rows", "a path", "no RMSE", "an empty RMSE"],
)
def test_rows_that_cannot_be_submitted_leave_the_first_students_rows(tmp_path, rows, student, message):
    path = submit(rows_of(7), tmp_path, "Ana")
    before = path.read_bytes()
    with pytest.raises(DataError, match=message):
        submit(rows, tmp_path, student)
    assert submit(rows_of(7), tmp_path, "Ana") == path, "the same rows may come again"
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,seed,error\na,1,0.7\n", r"Di\.csv: rmse is missing; needed are the columns cell, seed, rmse"),
        ("cell,seed,rmse\na,1,0.7\nb,first,0.8\n", r"Di\.csv, row 3: the seed or the RMSE is no number"),
        ("", r"Di\.csv cannot be read"),
        ("cell,seed,rmse\na,5,0.7\n", r"cell 'a' with seed 5 is in Ana\.csv and in Di\.csv"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    submit(rows_of(5), tmp_path, "Ana")
    (tmp_path / "Di.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_submissions(tmp_path)
