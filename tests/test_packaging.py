"""The wheel, used far from the checkout; the environment files; the licence."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from molft_utils.files import DATA_FOLDER, ROOT

USE = """
import molft_utils, molft_utils.files as files
assert len(molft_utils.load_lipophilicity()) == 4200
assert molft_utils.load_model("mini").config.hidden_size
print(files.DATA_FOLDER, files.stages_folder(), sep="\\n")
"""


def pip(*arguments: str | Path) -> None:
    """Run this environment's pip without a network: the build uses the setuptools that is installed here."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the wheel and nothing else; built from a copy, so that the checkout gains no ``build/``."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for folder in ("molft_utils", "data"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", wheels)
    (wheel,) = wheels.glob("molft-*.whl")
    pip("install", wheel, "--no-deps", "--target", site)
    return site


def test_an_installed_wheel_finds_its_data_and_leaves_runs_where_one_works(site, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "MOLFT_STAGES"}
    environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-c", USE]
    outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    data, stages = outcome.stdout.splitlines()
    assert Path(data) == site / "molft_utils" / "shipped"
    assert Path(stages) == tmp_path / "runs" / "stages"


def test_the_wheel_carries_every_file_of_the_data_folder(site):
    shipped = site / "molft_utils" / "shipped"
    committed = {path.relative_to(DATA_FOLDER) for path in DATA_FOLDER.rglob("[!.]*") if path.is_file()}
    assert {path.relative_to(shipped) for path in shipped.rglob("*") if path.is_file()} == committed


def test_every_folder_of_the_package_is_in_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "molft_utils").rglob("__init__.py")}
    assert set(listed) - {"molft_utils.shipped"} == {".".join(folder.parts) for folder in folders}


def test_licence_is_apache_with_nobody_elses_name():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    assert re.findall(r"Copyright (?!License|notice|owner).*", text.split("END OF TERMS")[1]) == [
        "Copyright [yyyy] [name of copyright owner]"
    ]


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-colab.txt"])
def test_every_dependency_has_a_tested_version_in_its_range(file):
    wanted = [Requirement(line) for line in dependencies()]
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert [str(w) for w in wanted if w.name not in pinned or pinned[w.name] not in w.specifier] == []


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(line for group in project["optional-dependencies"].values() for line in group)]


def test_the_conda_environment_is_the_same():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert {"pip": ["-c constraints.txt", "-e .[lab,dev]"]} in conda["dependencies"]
