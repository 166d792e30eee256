"""The benchmark against other libraries: what can be tested without them."""

import json
import warnings

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from molft_utils.errors import DataError
from molft_utils.evaluation import records
from molft_utils.files import ROOT
from molft_utils.making.peers import rows, turns
from molft_utils.making.peers.environment import PEERS, pinned
from molft_utils.making.peers.rows import COMPARISONS, Row, write
from molft_utils.show import plots


def test_every_peer_has_an_exact_version_and_torch_is_the_package_s():
    versions, constraints = pinned(), pinned(ROOT / "constraints.txt")
    assert set(PEERS) <= versions.keys()
    # A model is the same stage in both environments only with the same versions of these.
    assert all(versions[name] == constraints[name] for name in ("torch", "transformers", "peft", "rdkit"))


@pytest.mark.parametrize("line", ["dattri>=0.3", "dattri", "dattri==0.3.*", "https://example.org/dattri.whl"])
def test_a_requirement_without_an_exact_version_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "requirements.txt"
    path.write_text(f"# peers\n\npydvl[influence]==0.10.0  # a comment\n{line}\n")
    with pytest.raises(DataError, match=r"requirements.txt, line 4: .*name==version"):
        pinned(path)


def test_extras_and_comments_are_no_part_of_a_version(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# peers\npyDVL[influence]==0.10.0  # newest\n\ndattri==0.3.0\n")
    assert pinned(path) == {"pydvl": "0.10.0", "dattri": "0.3.0"}


def row(library: str, figure: float = 1.0, case: str = "a case", **more) -> Row:
    return Row(case, library, "a method", **{"figure": figure, "low": figure, "high": figure, "unit": "s", **more})


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    return tmp_path


def test_a_comparison_s_rows_take_the_place_of_its_earlier_ones_and_of_no_others(results):
    write("scoring", [row("molft"), row("torch")], {"code": "a"})
    write("growth", [row("molft", 5.0)], {})
    write("scoring", [row("molft", 2.0), row("torch", 3.0)], {"code": "b"})
    table = records.read("peers")
    assert list(table["figure"]) == [2.0, 3.0, 5.0]  # in the order of COMPARISONS
    assert [json.loads(text) for text in table["inputs"]] == [{"code": "b"}, {"code": "b"}, {}]
    assert records.is_recorded("peers", {"comparison": "scoring"}, {"code": "b"})
    assert not records.is_recorded("peers", {"comparison": "scoring"}, {"code": "c"})
    assert not [path for path in results.iterdir() if path.name not in ("peers.csv", ".peers.lock")]


def test_a_comparison_that_leaves_a_library_out_is_not_written(results):
    with pytest.raises(DataError, match="scoring: no row of torch"):
        write("scoring", [row("molft")], {})
    with pytest.raises(DataError, match=r"a case, a method: 1\.0 is not in 2\.0 to 3\.0"):
        write("growth", [row("molft", low=2.0, high=3.0)], {})
    assert not (results / "peers.csv").exists()


def test_a_library_that_could_not_be_had_has_a_row_without_a_figure(results):
    solvers = [row(library) for library in ("molft", "pydvl", "dattri")]
    write("solvers", [*solvers, row("torch-influence", np.nan, unit="", note="not on PyPI")], {})
    missing = records.read("peers").set_index("library").loc["torch-influence"]
    assert np.isnan(missing["figure"]) and missing["note"] == "not on PyPI"


def test_ratios_are_taken_round_by_round_and_have_their_range():
    seconds = pd.DataFrame({"ours": [1.0, 2.0, 4.0], "theirs": [3.0, 4.0, 16.0]})
    found = turns.timing_rows("work", seconds, {"ours": "molft", "theirs": "pydvl"}, "ours", per=1000, unit="ms")
    ours, theirs, ratio = ((one.figure, one.low, one.high) for one in found)
    assert ours == (2000, 1000, 4000) and theirs == (4000, 3000, 16000)
    assert ratio == (3, 2, 4)  # the ratio of the medians would be 2
    assert found[-1].library == "pydvl" and found[-1].unit == "times as long as ours"


def test_rounds_run_in_turn_and_the_first_one_is_left_out():
    order: list[str] = []
    seconds = turns.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3 and seconds.shape == (2, 2)


def test_the_slope_of_a_power_is_its_exponent():
    sizes = np.array([1, 2, 4, 8])
    rounds = np.stack([3.0 * sizes**2.0, 5.0 * sizes**2.2, 2.0 * sizes**1.5])
    middle, low, high = turns.slope(list(sizes), rounds)
    assert low == pytest.approx(1.5) and high == pytest.approx(2.2)
    assert turns.slope(list(sizes), rounds[:1]) == pytest.approx((2, 2, 2))
    assert low <= middle <= high


@pytest.fixture(scope="module")
def table():
    return records.read("peers")


def test_the_table_of_record_shows_each_comparison_with_all_its_libraries(table):
    assert list(table["comparison"].unique()) == list(COMPARISONS)
    for comparison, libraries in COMPARISONS.items():
        assert set(libraries) == set(table["library"][table["comparison"] == comparison])


def test_every_figure_of_record_has_a_unit_a_spread_and_what_it_came_from(table):
    known = table[table["figure"].notna()]
    assert (known["low"] <= known["figure"]).all() and (known["figure"] <= known["high"]).all()
    assert known[["unit", "note", "date", "commit", "version"]].notna().all(axis=None)
    assert list(table["library"][table["figure"].isna()].unique()) == ["torch-influence"]
    assert not table.duplicated(["comparison", "case", "library", "method"]).any()
    assert (table.groupby("comparison")["commit"].nunique() == 1).all()


def test_the_versions_of_record_are_those_that_are_pinned(table):
    of_peers = table[table["library"].isin(pinned())]
    assert all(pinned()[row.library] == row.version for row in of_peers.itertuples())


def test_two_libraries_with_the_same_permutations_agree_to_rounding_on_record(table):
    apart = table[table["case"] == "Shapley values: agreement"]
    assert len(apart) == 2 and (apart["figure"] < 1e-9).all()


def test_the_figure_is_wide_nothing_is_cut_and_its_text_names_the_best(table, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path))
    monkeypatch.setattr("molft_utils.show.figure.display", lambda data, **rest: said.append(data["text/plain"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # inside an old matplotlib, with a new pyparsing
        plots.peers(table, "peers")
    graded = table[table["case"] == "LDS, test molecules"]
    assert matplotlib.image.imread(tmp_path / "peers.png").shape[1] >= 1400
    assert graded.loc[graded["figure"].idxmax(), "method"] in said[0]


def test_the_row_of_molft_carries_the_package_s_version():
    assert rows.version_of("molft").count(".") == 2 and rows.version_of("no such library") == ""


def test_the_readme_quotes_the_benchmark(table):
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for row in table[table["case"] == "LDS, test molecules"].itertuples():
        assert f"{row.figure:.3f} [{row.low:.3f}, {row.high:.3f}]" in readme, row.method
    for row in table[table["case"] == "LDS, ours minus theirs"].itertuples():
        assert f"{row.figure:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" in readme, row.method
    for row in table[table["unit"] == "relative error"].itertuples():
        assert any(form.format(row.figure).replace("e-0", "e-") in readme for form in ("{:.3f}", "{:.4f}", "{:.1e}"))
    for row in table[table["case"] == "mini, 832,641 parameters: conjugate gradients, time a product"].itertuples():
        assert f"{row.figure:.0f} ms" in readme, row.library
    for row in table[table["unit"].str.startswith("times as long", na=False)].itertuples():
        rounded = (
            f"{row.figure:.2f}" if row.figure < 1 else f"{row.figure:.1f}" if row.figure < 10 else f"{row.figure:.0f}"
        )
        assert f"{rounded} times" in readme, (row.case, row.method)
