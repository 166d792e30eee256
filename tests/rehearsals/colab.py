"""Google Colab, rehearsed: ``nox --session rehearsal``.

Each notebook runs in the smoke profile, from its set-up cell on, in an environment with Colab's versions
(``constraints-colab.txt``). ``google.colab`` is a stand-in, and a local clone takes GitHub's place.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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


def main() -> None:
    """Run the notebooks; stop with the first that fails."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    repository = re.search(r"/github/([\w.-]+/[\w.-]+)/blob/", notebooks[0].read_text(encoding="utf-8"))
    assert repository is not None
    shutil.rmtree(FOLDER / "molft", ignore_errors=True)  # the clone that the first set-up cell makes
    make_stand_in(FOLDER / "stand-in")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOLFT_")} | {
        "GIT_CONFIG_GLOBAL": str(make_remote(repository[1])),
        "MOLFT_PROFILE": "smoke",
        "PYTHONPATH": str(FOLDER / "stand-in"),
    }
    for path in notebooks:
        shutil.copy(path, FOLDER)  # a student's notebook lies outside the clone
        command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", str(FOLDER / path.name)]
        subprocess.run([*command, "--ExecutePreprocessor.timeout=900"], env=environment, check=True)
    print("all ran with Colab's versions, set-up cell included")


if __name__ == "__main__":
    main()
