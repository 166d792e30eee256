"""The benchmark's own environment: the peers and molft's libraries in versions that agree, under ``runs/peers``."""

import re
import subprocess
import sys
from pathlib import Path

from ...errors import DataError
from ...files import RUNS_FOLDER
from ..environments import environment

FOLDER = RUNS_FOLDER / "peers"
PYTHON = FOLDER / "venv" / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

#: The libraries that are compared.
PEERS = ("pydvl", "dattri", "kronfluence", "traker")


def pinned(path: Path = REQUIREMENTS) -> dict[str, str]:
    """The exact version of each library in a requirements file.

    Raises
    ------
    DataError
        If a line is not ``name==version``: the table could not say what was compared.
    """
    versions = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        found = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([A-Za-z0-9.]+)", requirement)
        if not found:
            raise DataError(f"{path.name}, line {number}: {requirement!r} is not of the form name==version")
        versions[found[1].lower()] = found[2]
    return versions


def make_environment() -> None:
    """A virtual environment with the pinned libraries; made once, and again where the requirements have changed."""
    environment(FOLDER / "venv", sys.executable, REQUIREMENTS.read_text(encoding="utf-8"), _fill)


def _fill(python: Path) -> None:
    pip = [str(python), "-m", "pip"]
    # torch by itself first: a pinned release is taken as a CPU build where one is at hand, and nothing later moves it.
    subprocess.run([*pip, "install", "--quiet", f"torch=={pinned()['torch']}"], check=True)
    subprocess.run([*pip, "install", "--quiet", "--requirement", str(REQUIREMENTS)], check=True)
    # kronfluence asks for torchvision without importing it; transformers would, and fails beside a CPU build of torch.
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
