"""The test suite with the oldest and the newest releases that pyproject.toml admits: ``make matrix``.

A cell is a version of Python and "oldest" or "newest". Its environment lies in ``runs/matrix``. For "oldest" pip is
held to the lower bound of every dependency, for "newest" to nothing; a package that only dependencies ask for is the
newest that fits, in both. The outcome goes to ``data/results/matrix.csv``, the whole output to
``runs/matrix/<cell>.log``.

The package index holds only builds of torch with CUDA for some versions: such an environment takes 7 GB on disk.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from packaging.requirements import Requirement

from ..errors import DataError
from ..evaluation import records
from ..experiments import commit
from ..files import ROOT, RUNS_FOLDER, write_atomically
from .environments import environment, find_python

FOLDER = RUNS_FOLDER / "matrix"
PYTHONS = ("3.11", "3.12", "3.13")
WHICH = ("oldest", "newest")

#: Parts of pyproject.toml that an environment takes besides what molft itself needs, as `make` does.
EXTRAS = ("lab", "dev")

#: Packages whose versions a row names; the others are among its inputs.
MAIN = ("torch", "transformers", "peft", "datasets", "numpy", "pandas", "scikit-learn", "rdkit")

#: Prints an environment's versions: its Python, and the packages that it is given as JSON.
ASK = """
import importlib.metadata, json, platform, sys
names = json.loads(sys.argv[1])
print(json.dumps({"python": platform.python_version(), "libraries": {n: importlib.metadata.version(n) for n in names}}))
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How many tests passed, failed and were skipped, the minutes that they took, and the names of those that failed.

    An error outside a test, for instance in a fixture, counts as a failure.
    """

    passed: int
    failed: int
    skipped: int
    minutes: float
    failures: tuple[str, ...] = ()


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for: what molft needs, and the parts ``EXTRAS``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def oldest(wanted: Iterable[Requirement]) -> list[str]:
    """A constraint ``name==X`` for every ``name>=X``.

    Raises
    ------
    DataError
        For a requirement without a lower bound.
    """
    constraints = []
    for requirement in wanted:
        bounds = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(bounds) != 1:
            raise DataError(f"pyproject.toml: {requirement} has no lower bound; write {requirement.name}>=VERSION")
        constraints.append(f"{requirement.name}=={bounds[0]}")
    return constraints


def read_outcome(report: Path) -> Outcome:
    """Read the JUnit report that pytest wrote.

    Raises
    ------
    DataError
        If there is none, or no test in it: pytest did not get as far.
    """
    if not report.exists():
        raise DataError(f"pytest wrote no {report.name}; the reason is at the end of {report.with_suffix('.log')}")
    suites = ElementTree.parse(report).getroot().findall("testsuite")
    total, bad, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites for name in names)
        for names in (["tests"], ["failures", "errors"], ["skipped"])
    )
    if not total:
        raise DataError(f"{report.name} holds no test; the reason is at the end of {report.with_suffix('.log')}")
    failures = tuple(
        f"{case.get('classname')}::{case.get('name')}"
        for suite in suites
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    )
    minutes = sum(float(suite.get("time", 0)) for suite in suites) / 60
    return Outcome(total - bad - skipped, bad, skipped, minutes, failures)


def make_environment(interpreter: str, cell: str, which: str) -> Path:
    """The cell's Python, with molft as an editable install and its dependencies at their oldest or newest.

    Raises
    ------
    DataError
        If pip finds no such set of packages; the message ends with what pip said.
    """
    constraints = oldest(requirements()) if which == "oldest" else []
    file = FOLDER / f"{cell}.txt"
    write_atomically(file, "".join(f"{line}\n" for line in constraints))

    def fill(python: Path) -> None:
        command = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(file), "--editable"]
        done = subprocess.run([*command, f".[{','.join(EXTRAS)}]"], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise DataError(f"{cell}: pip cannot install this: {done.stderr.strip()[-1500:]}")

    asked = [str(requirement) for requirement in requirements()]
    return environment(FOLDER / cell, interpreter, json.dumps([constraints, asked]), fill)


def run_tests(python: Path, cell: str, tests: Sequence[str]) -> Outcome:
    """Run tests of the working tree in an environment, one process and one thread, output to ``<cell>.log``."""
    report = FOLDER / f"{cell}.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", *tests, "--junitxml", str(report)]
    # Colours and a terminal's width would depend on who started it.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with report.with_suffix(".log").open("w", encoding="utf-8") as log:
        subprocess.run(command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT)
    return read_outcome(report)


def versions(python: Path) -> dict:
    """An environment's Python and its versions of what pyproject.toml asks for."""
    names = json.dumps([requirement.name for requirement in requirements()])
    done = subprocess.run([str(python), "-c", ASK, names], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def run_cell(python_version: str, which: str, tests: Sequence[str] = ()) -> bool:
    """Run one cell and say what came of it; a whole suite goes on record. Whether all tests passed."""
    cell = f"{python_version}-{which}"
    interpreter = find_python(python_version)
    if interpreter is None:
        print(f"{cell}: skipped, as there is no Python {python_version} here")
        return True
    python = make_environment(interpreter, cell, which)
    found = run_tests(python, cell, tests)
    print(f"{cell}: {found.passed} passed, {found.failed} failed, {found.skipped} skipped in {found.minutes:.1f} min")
    for name in found.failures:
        print(f"  failed: {name}")
    if not tests:
        inputs = versions(python)
        row = {name: getattr(found, name) for name in ("passed", "failed", "skipped")}
        row |= {"minutes": round(found.minutes, 1)}
        row |= {"versions": ", ".join(f"{name} {inputs['libraries'][name]}" for name in MAIN), "commit": commit()}
        records.add("matrix", {"python": inputs["python"], "which": which}, row, inputs)
    return not found.failed


def main() -> None:
    """Run the cells from the command line; the exit status tells whether all of them passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=PYTHONS, choices=PYTHONS)
    parser.add_argument("--which", nargs="+", default=WHICH, choices=WHICH)
    parser.add_argument("--remove", action="store_true", help="remove each environment after its run")
    parser.add_argument("--tests", nargs="+", default=(), help="only these files, which leaves no record")
    args = parser.parse_args()
    bad = []
    for version in args.python:
        for which in args.which:
            try:
                passed = run_cell(version, which, args.tests)
            except DataError as error:
                print(error)
                passed = False
            bad += [] if passed else [f"{version}-{which}"]
            if args.remove:
                shutil.rmtree(FOLDER / f"{version}-{which}", ignore_errors=True)
    if bad:
        raise SystemExit(f"not all tests passed: {', '.join(bad)}")


if __name__ == "__main__":
    main()
