"""Run the notebooks one after the other: ``python data/scripts/notebooks.py run | refresh | badges``.

``run`` makes pages (HTML) in ``runs/pages`` and draws into ``runs/figures``; ``refresh`` writes the outputs back and
draws into ``figures``. Names after these choose notebooks (``refresh 05_tsdshapley``). ``badges`` writes the
repository's name from pyproject.toml into README, citation and notebooks, and the first notebook's set-up cell into the
others.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat

from molft_utils.files import ROOT, RUNS_FOLDER, write_atomically

NOTEBOOKS_FOLDER = ROOT / "notebooks"

#: The page's template: nbconvert's own gives no picture its alternative text.
TEMPLATE = Path(__file__).with_name("page.html.j2")

UNWANTED = re.compile(rf"Warning\b|Traceback|{re.escape(str(ROOT))}|(?<![\w.])/(?:home|root|tmp|Users)/\w")


def execute(path: Path, to: str) -> bool:
    """Run a notebook into ``runs/pages`` (``to`` "html") or in place ("notebook"); whether all went well."""
    pages, figures = RUNS_FOLDER / "pages", ROOT / "figures" if to == "notebook" else RUNS_FOLDER / "figures"
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", to, "--output-dir", str(pages), str(path)]
    command += ["--template-file", str(TEMPLATE)] if to == "html" else []
    environment = {"MOLFT_FIGURES": str(figures), "MOLFT_PROFILE": "class", **os.environ}
    done = subprocess.run([*command, "--ExecutePreprocessor.timeout=3600"], env=environment)
    return done.returncode == 0 and (to == "html" or write_back(pages / path.name, path))


def write_back(executed: Path, path: Path) -> bool:
    """Write outputs back, without progress bars and widgets; refuse a warning or a path of this machine."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        shown = re.sub(r"'image/png': '[^']*'", "", str(cell.get("outputs", "")))
        if found := UNWANTED.search(shown):
            print(f"{path.name} shows {found[0]!r}; its outputs stay as they were", file=sys.stderr)
            return False
        if cell.cell_type == "code":
            live = "application/vnd.jupyter.widget-view+json"
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and live not in o.get("data", {})]
    write_atomically(path, nbformat.writes(notebook) + "\n")
    return True


def set_up_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


def badges(paths: list[Path], repository: str) -> None:
    """Let files name one repository, at its branch ``main``; notebooks have the set-up cell of the first file."""
    first = paths[0].read_text(encoding="utf-8")
    old, setup = re.search(r"/github/([\w.-]+/[\w.-]+)/blob/", first), set_up_cell(nbformat.reads(first, 4)).source
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            notebook = nbformat.reads(text, as_version=4)
            set_up_cell(notebook).source = setup
            text = nbformat.writes(notebook) + "\n"
        text = re.sub(rf"\b{re.escape(old[1])}(?![\w-])", repository, text) if old else text
        write_atomically(path, re.sub(r"/blob/[\w.-]+/notebooks/", "/blob/main/notebooks/", text))


def main() -> None:
    """A notebook that fails ends there; the others run all the same, and the exit code is 1."""
    notebooks = sorted(NOTEBOOKS_FOLDER.glob("*.ipynb"))
    if sys.argv[1] == "badges":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        badges([*notebooks, ROOT / "README.md", ROOT / "CITATION.cff"], project["tool"]["molft"]["repository"])
        return
    to, names = {"run": "html", "refresh": "notebook"}[sys.argv[1]], sys.argv[2:]
    if unknown := set(names) - {path.stem for path in notebooks}:
        raise SystemExit(f"no notebook is called {', '.join(sorted(unknown))}")
    failed = [path.name for path in notebooks if (not names or path.stem in names) and not execute(path, to)]
    raise SystemExit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
