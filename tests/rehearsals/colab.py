"""Google Colab, rehearsed: ``nox --session rehearsal``.

Each notebook runs in the smoke profile, from its set-up cell on, in an environment with Colab's versions
(``constraints-colab.txt``). ``google.colab`` is a stand-in, and a local clone takes GitHub's place. A warning that a
class would see is a failure.
"""

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "runs" / "colab"


def make_stand_in(folder: Path) -> None:
    """``google.colab``, which is imported before the first cell."""
    package = folder / "google" / "colab"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("from . import drive\n")
    (package / "drive.py").write_text("def mount(folder):\n    print('mounted', folder)\n")
    (folder / "sitecustomize.py").write_text("import google.colab\n")


def make_remote(repository: str) -> Path:
    """A git configuration with which a clone of the repository is one of the last commit here."""
    remote, config = FOLDER / "remote.git", FOLDER / "gitconfig"
    shutil.rmtree(remote, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, remote], check=True)
    subprocess.run(["git", "-C", remote, "branch", "--force", "main", "HEAD"], stderr=subprocess.DEVNULL)
    config.write_text(f'[url "file://{remote}"]\n\tinsteadOf = https://github.com/{repository}\n')
    return config


def rehearse(path: Path, environment: dict[str, str]) -> list[str]:
    """Run a notebook on a runtime of its own, as on Colab; what it writes to stderr, progress bars apart."""
    shutil.rmtree(FOLDER / "molft", ignore_errors=True)  # the last one's clone
    subprocess.run([sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", "molft", "rdkit"], check=True)
    copy = shutil.copy(path, FOLDER)  # a student's notebook lies outside the clone
    command = [sys.executable, "-m", "nbconvert", "--execute", "--inplace", copy, "--ExecutePreprocessor.timeout=900"]
    subprocess.run(command, env=environment, check=True)
    cells = [cell for cell in nbformat.read(copy, as_version=4).cells if cell.cell_type == "code"]
    began, ended = (cells[0].metadata.execution[f"iopub.{when}"] for when in ("execute_input", "status.idle"))
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    print(f"{path.name}: the set-up cell took {seconds:.0f} s", flush=True)
    lines = [line for cell in cells for o in cell.outputs if o.get("name") == "stderr" for line in o.text.splitlines()]
    return [f"{path.name}: {line}" for line in lines if line.strip() and "%|" not in line]


def main() -> None:
    """Run the notebooks; stop with the first that fails."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    repository = re.search(r"/github/([\w.-]+/[\w.-]+)/blob/", notebooks[0].read_text(encoding="utf-8"))
    assert repository is not None
    make_stand_in(FOLDER / "stand-in")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOLFT_")} | {
        "GIT_CONFIG_GLOBAL": str(make_remote(repository[1])),
        "MOLFT_PROFILE": "smoke",
        "PYTHONPATH": str(FOLDER / "stand-in"),
    }
    if lines := [line for path in notebooks for line in rehearse(path, environment)]:
        raise SystemExit("\n".join(["a class would see:", *lines]))
    print("all ran with Colab's versions, set-up cell included")


if __name__ == "__main__":
    main()
