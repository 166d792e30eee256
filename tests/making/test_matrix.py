"""The matrix of versions: its constraints, its reading of pytest's report, its record."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from molft_utils import DataError
from molft_utils.evaluation import records
from molft_utils.making import environments, matrix
from molft_utils.making.matrix import Outcome

SUITE = """
import pytest
def test_good(): pass
def test_bad(): assert 1 == 2
def test_left_out(): pytest.skip("not here")
@pytest.fixture
def broken(): raise OSError("no disk")
def test_without_fixture(broken): pass
"""


def test_the_oldest_releases_are_the_lower_bounds():
    wanted = [Requirement(line) for line in ("torch>=2.9", "transformers>=5.15,<6", "IPython>=7.34")]
    assert matrix.oldest(wanted) == ["torch==2.9", "transformers==5.15", "IPython==7.34"]


def test_a_requirement_without_a_lower_bound_is_named():
    with pytest.raises(DataError, match=r"numpy<3 has no lower bound; write numpy>=VERSION"):
        matrix.oldest([Requirement("numpy<3")])


def test_every_dependency_has_a_lower_bound_that_its_own_range_admits():
    wanted = {requirement.name: requirement for requirement in matrix.requirements()}
    pinned = dict(line.split("==") for line in matrix.oldest(wanted.values()))
    assert pinned.keys() == wanted.keys() >= {*matrix.MAIN, "pytest", "jupyterlab"}
    assert [name for name, version in pinned.items() if version not in wanted[name].specifier] == []


@pytest.fixture(autouse=True)
def without_plugins(monkeypatch):
    """The plugins of this environment are none of the small suites' business, and take seconds to import."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run_pytest(folder: Path, suite: str) -> Path:
    """The report of a suite of its own, made by the pytest that runs this test."""
    (folder / "test_it.py").write_text(suite, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py", "--junitxml", "report.xml"]
    subprocess.run(command, cwd=folder, capture_output=True)
    return folder / "report.xml"


def test_a_report_is_counted_with_errors_as_failures(tmp_path):
    found = matrix.read_outcome(run_pytest(tmp_path, SUITE))
    assert (found.passed, found.failed, found.skipped) == (1, 2, 1)
    assert found.failures == ("test_it::test_bad", "test_it::test_without_fixture") and found.minutes > 0


def test_a_suite_that_did_not_run_is_no_success(tmp_path):
    with pytest.raises(DataError, match=r"pytest wrote no report.xml; the reason is at the end of .*report.log"):
        matrix.read_outcome(tmp_path / "report.xml")
    with pytest.raises(DataError, match="holds no test"):
        matrix.read_outcome(run_pytest(tmp_path, "x = 1"))


@pytest.fixture
def here(monkeypatch, tmp_path) -> Path:
    """A matrix whose environment is the one that runs this test, with results of its own."""
    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(matrix, "make_environment", lambda interpreter, cell, which: Path(sys.executable))
    monkeypatch.setattr(matrix, "find_python", lambda version: sys.executable)
    return tmp_path


def test_a_whole_suite_goes_on_record_with_its_versions(here, monkeypatch, capsys):
    monkeypatch.setattr(matrix, "run_tests", lambda python, cell, tests: Outcome(9, 1, 2, 3.21, ("test_a::test_b",)))
    assert not matrix.run_cell("3.11", "oldest")
    assert "9 passed, 1 failed, 2 skipped in 3.2 min\n  failed: test_a::test_b" in capsys.readouterr().out
    row = pd.read_csv(here / "matrix.csv").iloc[0]
    assert (row["passed"], row["failed"], row["skipped"], row["minutes"], row["which"]) == (9, 1, 2, 3.2, "oldest")
    assert row["versions"].startswith("torch 2.") and row["python"] == "{}.{}.{}".format(*sys.version_info[:3])


def test_some_files_alone_leave_no_record(here):
    (here / "test_it.py").write_text("def test_good(): pass", encoding="utf-8")
    assert matrix.run_cell("3.12", "newest", [str(here / "test_it.py")])
    assert "1 passed" in (here / "3.12-newest.log").read_text(encoding="utf-8")
    assert not (here / "matrix.csv").exists()


def test_a_missing_interpreter_is_skipped_with_the_reason(here, monkeypatch, capsys):
    monkeypatch.setattr(matrix, "find_python", lambda version: None)
    assert matrix.run_cell("3.12", "oldest")
    assert "3.12-oldest: skipped, as there is no Python 3.12 here" in capsys.readouterr().out
    assert environments.find_python("2.99") is None


def test_an_environment_is_made_once_for_a_stamp_and_again_after_a_failure(tmp_path, monkeypatch):
    made: list[str] = []
    monkeypatch.setattr(environments.subprocess, "run", lambda command, check: command[-1].mkdir())

    def fail(python: Path) -> None:
        raise DataError("no such package")

    with pytest.raises(DataError):
        environments.environment(tmp_path / "venv", "python", "a", fail)
    for stamp in ("a", "a", "b"):
        environments.environment(tmp_path / "venv", "python", stamp, lambda python, stamp=stamp: made.append(stamp))
    assert made == ["a", "b"]


def test_on_record_every_cell_passes_and_the_oldest_releases_are_those_of_today():
    table = records.read("matrix")
    cells = [(row.python.rpartition(".")[0], row.which) for row in table.itertuples()]
    assert sorted(cells) == sorted(itertools.product(matrix.PYTHONS, matrix.WHICH))
    assert (table["failed"] == 0).all() and (table["passed"] > 1200).all()
    bounds = dict(line.split("==") for line in matrix.oldest(matrix.requirements()))
    for text in table.loc[table["which"] == "oldest", "inputs"]:
        libraries = json.loads(text)["libraries"]
        assert all(Version(libraries[name]) == Version(bound) for name, bound in bounds.items())
