"""A rehearsal of Google Colab: ``make colab``.

The six notebooks run in the smoke profile, each from its set-up cell on, in an environment with the versions that Colab
ships (``constraints-colab.txt``, Python 3.13), with a stand-in for ``google.colab`` and a local clone in place of
GitHub. Colab has torchao 0.10 and no RDKit; the set-up cell has to cope.
"""

import json
import os
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import nbformat

from ..files import ROOT, RUNS_FOLDER
from .environments import environment, find_python
from .pages import notebooks, repository, tag

FOLDER = RUNS_FOLDER / "colab"
PYTHON = FOLDER / "venv" / "bin" / "python"
CONSTRAINTS = ROOT / "constraints-colab.txt"

#: What ``google.colab`` is to the set-up cell.
STAND_IN = {
    "__init__.py": "from . import drive\n",
    "drive.py": "def mount(folder):\n    print('mounted', folder)\n",
}


def make_environment(interpreter: str) -> None:
    """A virtual environment with what Colab ships, made once; what molft needs and Colab lacks is left out."""
    environment(FOLDER / "venv", interpreter, CONSTRAINTS.read_text(encoding="utf-8"), _fill)


def _fill(python: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shipped = [name for name in project["dependencies"] if not name.startswith("rdkit")]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS)]
    subprocess.run([*pip, "torch"], check=True)
    subprocess.run([*pip, *shipped, "ipykernel", "torchao==0.10.0"], check=True)
    packages = next((FOLDER / "venv" / "lib").glob("python*/site-packages"))
    stand_in = packages / "google" / "colab"
    stand_in.mkdir(parents=True, exist_ok=True)
    for name, text in STAND_IN.items():
        (stand_in / name).write_text(text, encoding="utf-8")
    (packages / "colab.pth").write_text("import google.colab\n", encoding="utf-8")  # there before the first cell


def make_remote() -> dict[str, str]:
    """A bare clone of the working tree's last commit with the release's tag; the variables that make git take it."""
    remote, config = FOLDER / "remote.git", FOLDER / "gitconfig"
    shutil.rmtree(remote, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, remote], check=True)
    subprocess.run(["git", "-C", remote, "tag", "--force", tag(), "HEAD"], check=True, stdout=subprocess.DEVNULL)
    config.write_text(f'[url "file://{remote}"]\n\tinsteadOf = https://github.com/{repository()}\n', encoding="utf-8")
    return {"GIT_CONFIG_GLOBAL": str(config)}


def run_notebook(path: Path) -> float:
    """Run one notebook as a student would, and return its seconds."""
    from nbclient import NotebookClient

    notebook, began = nbformat.read(path, as_version=4), time.perf_counter()
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=900, kernel_name="colab", resources=where).execute()
    return time.perf_counter() - began


def main() -> None:
    """Rehearse, or say why not."""
    interpreter = find_python("3.13")
    if interpreter is None:
        print("skipped: Colab has Python 3.13, and there is none here")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    make_environment(interpreter)
    kernel = FOLDER / "share" / "kernels" / "colab"
    kernel.mkdir(parents=True, exist_ok=True)
    command = [str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    home = FOLDER / "content" / "molft"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)  # as an interrupted clone leaves it
    os.environ.update(make_remote(), JUPYTER_PATH=str(FOLDER / "share"), MOLFT_HOME=str(home), MOLFT_PROFILE="smoke")
    for name in ("MOLFT_STAGES", "MOLFT_FIGURES"):
        os.environ.pop(name, None)
    for path in notebooks():
        print(f"{path.stem:16} {run_notebook(path):4.0f} s", flush=True)
    print("all six ran with Colab's versions, set-up cell included")


if __name__ == "__main__":
    main()
