"""Results of record: complete, quoted as they stand, safe for two writers."""

import json
import multiprocessing

import nbformat
import pandas as pd
import pytest

from molft_utils import DataError, scores, settings
from molft_utils.evaluation import best_rate, built_in_scores, of_record, record_selection_difference, records
from molft_utils.experiments import doubtful, selection
from molft_utils.files import DATA_FOLDER, ROOT
from molft_utils.inputs import changes
from molft_utils.making import label_study, luck_study, results, sweep_study, variants
from molft_utils.making.selection_study import COSTLY, COSTLY_SEEDS, COSTLY_SHARES, PLAN, UNKNOWN_NUMBER, inputs_of_rule
from molft_utils.molformer import checkpoint_hash
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


@pytest.mark.parametrize("table", RECORDED)
def test_every_variant_has_at_least_three_seeds_of_the_committed_checkpoint(table):
    rows = pd.read_csv(DATA_FOLDER / "results" / f"{table}.csv")
    assert set(rows["variant"]) == set(variants.TABLES[table])
    for variant, group in rows.groupby("variant"):
        assert sorted(group["seed"])[:3] == [0, 1, 2], variant
    for row in rows[rows["variant"] != "random-weights"].itertuples():
        name = "mini-descriptors" if row.variant.startswith("descriptors") else "mini"
        assert json.loads(row.inputs)["checkpoint"] == checkpoint_hash(name), row.variant
    assert rows["commit"].str.fullmatch("[0-9a-f]{12}").all()


def pinned(inputs: dict) -> dict:
    """The inputs with the libraries' versions of constraints.txt, with which records are made, whatever runs here."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {**inputs, "libraries": {name: pins[name] for name in inputs["libraries"]}}


@pytest.mark.parametrize("table", RECORDED)
def test_what_is_on_record_is_what_the_code_would_make(table):
    """Settings, data, checkpoint, code and libraries of every row."""
    rows = pd.read_csv(DATA_FOLDER / "results" / f"{table}.csv")
    for row in rows[rows["seed"] == 0].itertuples():
        variant = variants.TABLES[table][row.variant]
        recorded, here = json.loads(row.inputs), variant.inputs(variant.settings(0))
        if row.variant == "random-weights" and here["libraries"] != pinned(here)["libraries"]:
            recorded["checkpoint"] = here["checkpoint"]  # written here: its config.json names another transformers
        assert not changes(recorded, pinned(here)), row.variant


@pytest.mark.parametrize("table", RECORDED)
def test_readme_quotes_the_record(table):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for variant, row in of_record.record(table).iterrows():
        assert f"{row['mean']:.3f} ± {row['sd']:.3f}" in readme, variant


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


#: Numbers of epochs that the sweep has not reached yet; `make results` goes on with them.
UNFINISHED = (20,)
EPOCHS = [n for n in sweep_study.EPOCHS if n not in UNFINISHED]


def test_the_sweep_is_complete_but_for_what_is_named():
    """Six rates and the report's for every method, and three seeds at the best one and beside it."""
    table = of_record.record_sweep()
    for epochs in EPOCHS:
        for name, swept in sweep_study.SWEPT.items():
            rows = table[(table["name"] == name) & (table["epochs"] == epochs)].set_index("rate")
            assert set(swept.rates) <= set(rows.index), name
            assert (rows.loc[sweep_study.around_best(name, epochs), "seeds"] == 3).all(), name
    assert (table["rate"] == sweep_study.REPORTED_RATE).sum() == len(sweep_study.SWEPT)


@pytest.mark.parametrize("name", ["full", "bitfit", "ia3", "lora, r = 4", "lora-all, r = 4"])
def test_the_class_profile_has_the_rates_of_the_sweep(name):
    method = sweep_study.SWEPT[name].method
    assert settings("class").of_method(method).learning_rate == pytest.approx(best_rate(name, 4))


def test_methods_at_their_best_rates_have_five_seeds():
    rows = records.read("fair")
    expected = {f"{name}, {epochs} epochs" for name in sweep_study.SWEPT for epochs in EPOCHS}
    assert set(rows["variant"]) == expected
    assert (rows.groupby("variant")["seed"].apply(sorted).map(tuple) == tuple(results.SEEDS)).all()
    for row in rows[rows["seed"] == 0].itertuples():
        variant = variants.FAIR[row.variant]
        assert not changes(json.loads(row.inputs), pinned(variant.inputs(variant.settings(0)))), row.variant


def test_the_pool_of_luck_has_thirty_seeds_of_both_cells():
    rows = records.read("luck")
    assert rows.groupby("cell")["seed"].apply(sorted).map(tuple).to_dict() == {
        cell: tuple(luck_study.SEEDS) for cell in luck_study.CELLS
    }
    for row in rows[rows["seed"] == 0].itertuples():
        variant = variants.TABLE2[row.cell]
        assert not changes(json.loads(row.inputs), pinned(variant.inputs(variant.settings(0)))), row.cell


def test_labels_are_complete():
    """Five seeds for each model and number of labels."""
    rows = records.read("labels")
    assert set(rows["model"]) == set(label_study.MODELS) and set(rows["labels"]) == set(label_study.SIZES)
    assert (rows.groupby(["model", "labels"])["seed"].apply(sorted).map(tuple) == tuple(results.SEEDS)).all()
    assert len(of_record.record_labels()) == len(label_study.MODELS) * len(label_study.SIZES)


def test_the_study_of_selection_is_complete():
    rows = records.read("selection")
    found = set(rows.groupby(["kind", "share", "seed"]).groups)
    planned = {(kind, share, seed) for kind, shares, seeds in PLAN for share in shares for seed in seeds}
    assert found == planned
    for (_, share, seed), group in rows.groupby(["kind", "share", "seed"]):
        costly = share in COSTLY_SHARES and seed in COSTLY_SEEDS
        expected = [] if share == 0 else [*doubtful.RULES, UNKNOWN_NUMBER, *COSTLY]
        assert set(group["rule"]) == {"keep all", "trusted only", *expected} - (set() if costly else set(COSTLY))


def test_the_study_of_selection_is_what_the_code_would_make():
    rows = records.read("selection")
    for (kind, share), group in rows[rows["seed"] == 0].groupby(["kind", "share"]):
        cfg = settings("class", seed=0)
        molecules = doubtful.draw_pool(cfg, kind, share)
        for row in group.itertuples():
            assert not changes(json.loads(row.inputs), pinned(inputs_of_rule(cfg, molecules, row.rule))), (
                kind,
                share,
                row.rule,
            )


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
    *(("fair", f"lora-all, r = {rank}, 4 epochs", "full, 4 epochs") for rank in (4, 16, 64)),
]


@pytest.mark.parametrize("table, a, b", QUOTED)
def test_readme_quotes_the_differences(table, a, b):
    difference = of_record.record_difference(table, a, b)
    quoted = f"{difference.value:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert quoted.replace("-", "−") in readme


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
