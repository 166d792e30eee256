"""Run the notebooks and make pages of them: ``python -m molft_utils.making.pages run | refresh | badges``.

``run`` executes copies and draws into ``runs/figures``: a clean checkout stays clean. ``refresh`` writes the outputs
back and draws into ``figures/``; ``badges`` writes the repository's name and the release's tag into badges, and the
set-up cell, which lies beside this file, into the notebooks.
"""

import argparse
import os
import re
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from tqdm import tqdm

from ..files import NOTEBOOKS_FOLDER, ROOT, RUNS_FOLDER, write_atomically
from .html import title, write_index, write_page

if TYPE_CHECKING:  # a slow import, which `badges` does without
    from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"

#: What must not be seen on a page: paths of the machine, tracebacks, warnings.
UNWANTED = re.compile(
    rf"Traceback \(most recent|Warning\b|{re.escape(str(ROOT))}|(?<![\w.])/(?:home|root|tmp|work|Users)/\w"
)

COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


def notebooks() -> list[Path]:
    """The numbered notebooks, in order."""
    return sorted(NOTEBOOKS_FOLDER.glob("[0-9][0-9]_*.ipynb"))


def environment(profile: str, refresh: bool = False) -> dict[str, str]:
    """The kernel's environment, with the folder its figures go to; a ``MOLFT_FIGURES`` that is set stays.

    Only a refresh draws into the committed ``figures/``, and a smoke run's few molecules never do.
    """
    if profile == "smoke":
        figures = RUNS_FOLDER / "figures-smoke"
    else:
        figures = ROOT / "figures" if refresh else RUNS_FOLDER / "figures"
    return {"MOLFT_FIGURES": str(figures), **os.environ, "MOLFT_PROFILE": profile}


def execute(path: Path, profile: str, refresh: bool = False) -> nbformat.NotebookNode:
    """Run a notebook in a fresh kernel of this interpreter, with a bar over its cells; outputs are as they came.

    Raises
    ------
    SystemExit
        If a cell fails, runs for more than an hour or loses its kernel: the cell and its error, nothing else.
    """
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    bar = tqdm(total=count_code(notebook), desc=path.stem, unit="cell", leave=False, disable=not sys.stderr.isatty())
    with bar:
        try:
            client(notebook, bar).execute(env=environment(profile, refresh))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise SystemExit(f"{path.name} stopped:\n{COLOUR_CODE.sub('', str(error))}") from None
    return notebook


def client(notebook: nbformat.NotebookNode, bar: tqdm) -> "NotebookClient":
    """What runs the notebook's cells in ``notebooks/``, an hour a cell at most, a step of the bar for each."""
    from nbclient import NotebookClient

    return NotebookClient(
        notebook,
        timeout=3600,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # new kernels warn that they talk over this machine's own TCP
        resources={"metadata": {"path": str(NOTEBOOKS_FOLDER)}},
        on_cell_executed=lambda **_: bar.update(),
    )


def count_code(notebook: nbformat.NotebookNode) -> int:
    """How many cells hold code."""
    return sum(cell.cell_type == "code" for cell in notebook.cells)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what only a live kernel can show (widgets, their state) and what changes from run to run (times)."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_live(output)]
    return notebook


def _is_live(output: nbformat.NotebookNode) -> bool:
    """A widget, or a progress bar on the error stream."""
    return WIDGET in output.get("data", {}) or output.get("name") == "stderr"


def unwanted(notebook: nbformat.NotebookNode) -> list[str]:
    """Paths of the machine, tracebacks and warnings in the outputs, each with its cell."""
    found = []
    for i, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            shown = [str(v) for k, v in output.get("data", {}).items() if "image" not in k]
            text = "\n".join([output.get("text", ""), *output.get("traceback", []), *shown])
            found += [f"cell {i}: …{text[max(0, m.start() - 60) : m.end() + 120]}…" for m in UNWANTED.finditer(text)]
    return found


def run(profile: str, refresh: bool, only: list[str]) -> None:
    """Execute the notebooks in order; with ``refresh``, write the outputs back into the committed files."""
    began = time.perf_counter()
    chosen = [path for path in notebooks() if not only or path.stem in only]
    for path in chosen:
        start = time.perf_counter()
        n_cells = run_one(path, profile, refresh)
        seconds = time.perf_counter() - start
        print(f"{path.stem:16} {n_cells:3} cells {seconds:6.0f} s   runs/pages/{path.stem}.html", flush=True)
    write_index({path.stem: title(nbformat.read(path, as_version=4)) for path in notebooks()})
    seconds = time.perf_counter() - began
    figures = environment(profile, refresh)["MOLFT_FIGURES"]
    print(f"{len(chosen)} notebooks in {seconds:.0f} s, profile {profile}; figures are in {figures}")


def run_one(path: Path, profile: str, refresh: bool) -> int:
    """Execute one notebook and write its page; return how many of its cells hold code.

    Raises
    ------
    SystemExit
        If a cell fails, or if the outputs to be committed show a path of the machine, a traceback or a warning.
    """
    notebook = execute(path, profile, refresh)
    problems = unwanted(notebook)  # before tidying, which drops the error stream and with it every warning
    write_page(tidy(notebook), path.stem, [other.stem for other in notebooks()])
    if problems:
        message = f"{path.name} shows what a page should not: {'; '.join(problems[:3])}"
        if refresh:
            raise SystemExit(message)
        print(message)  # another version's warning is no reason to stop a reader
    if refresh:
        write_atomically(path, nbformat.writes(notebook) + "\n")
    return count_code(notebook)


def repository() -> str:
    """GitHub owner/name, from ``[tool.molft]`` in pyproject.toml."""
    return _pyproject()["tool"]["molft"]["repository"]


def tag() -> str:
    """The git tag of the release, which Colab fetches: a student's notebook and its helper fit together."""
    return f"v{_pyproject()['project']['version']}"


def _pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def with_repository(text: str, name: str, at: str) -> str:
    """Put a GitHub owner/name and a tag into a text's badges and links."""
    badge = r"(colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+/blob/[\w.-]+"
    text = re.sub(badge, rf"\g<1>{name}/blob/{at}", text)
    return re.sub(r'((?:git clone|repository-code:) "?https://github\.com/)[\w.-]+/[\w-]+', rf"\g<1>{name}", text)


def setup_cell() -> str:
    """The first code cell of every notebook."""
    text = (Path(__file__).parent / "setup_cell.txt").read_text(encoding="utf-8").rstrip()
    return text.replace("OWNER/NAME", repository()).replace("TAG_OF_RELEASE", tag())


def with_setup(text: str) -> str:
    """A notebook's text with the set-up cell as its first code cell, folded where a form or a source can be."""
    notebook = nbformat.reads(text, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    folded = {"cellView": "form", "jupyter": {"source_hidden": True}}
    if first.source == setup_cell() and folded.items() <= first.metadata.items():
        return text
    first.source = setup_cell()
    first.metadata.update(folded)
    return nbformat.writes(notebook) + "\n"


def badges() -> None:
    """Rewrite README and notebooks in place."""
    for path in (ROOT / "README.md", ROOT / "CITATION.cff", *notebooks()):
        text = path.read_text(encoding="utf-8")
        new = with_repository(text, repository(), tag())
        new = with_setup(new) if path.suffix == ".ipynb" else new
        if new != text:
            write_atomically(path, new)
            print(f"{path.relative_to(ROOT)}: {repository()}, {tag()}")


def main() -> None:
    """Read the command line and do what it asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["run", "refresh", "badges"])
    parser.add_argument("--profile", default="class")
    parser.add_argument("--only", nargs="+", default=[], help="names of notebooks, for instance 02_baseline")
    args = parser.parse_args()
    if args.action == "badges":
        badges()
    else:
        run(args.profile, refresh=args.action == "refresh", only=args.only)


if __name__ == "__main__":
    main()
