"""The site: ``make site``. Sphinx shows the repository as it is, notebooks with the outputs that are committed.

The source folder is the repository's root: links between its files become links between pages.
"""

import tomllib
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
HELPER, API = ROOT / "molft_utils", ROOT / "runs" / "api"
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["molft"]["repository"]

project = html_title = "molft"
author = copyright = "The molft contributors"
root_doc = "README"
CONTENTS = {
    "Notebooks": ["notebooks/0*", "notebooks/report"],
    "Teaching": ["notebooks/README"],
    "Data and results": ["data/results/README", "data/README", "data/*/README"],
    "The helper": ["runs/api/*"],
    "Development": ["tests/README", "CONTRIBUTING", "CHANGELOG"],
}
include_patterns = ["README.md", *(f"{page}.*" for pages in CONTENTS.values() for page in pages)]
exclude_patterns = [".*", "runs/[!a]*"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of transformers and torch are theirs

html_theme = "sphinx_book_theme"
html_theme_options = {
    "repository_url": f"https://github.com/{REPOSITORY}",
    "repository_branch": "main",
    "use_repository_button": True,
    "navbar_persistent": [],  # else the search button stands there a second time
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
}


def write_api_pages(app: Any) -> None:
    """A page for each folder of the helper, with the names that it offers, and for each module that is used itself."""
    API.mkdir(parents=True, exist_ok=True)
    folders = [path.parent for path in HELPER.glob("*/__init__.py")]
    for path in [HELPER, *folders, *HELPER.glob("[a-z]*.py"), HELPER / "experiments" / "grid.py"]:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        offered = "" if path.suffix else "   :imported-members:\n"
        offered += "   :no-index:\n" if path is HELPER else ""  # these names have their entries on the other pages
        title = name.removeprefix("molft_utils.")
        page = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {name}\n   :members:\n{offered}"
        (API / f"{name}.rst").write_text(page, encoding="utf-8")


def prepare(app: Any, page: str, source: list[str]) -> None:
    """Add the contents to the first page; in notebooks fold what Colab folds, and drop the badge for a button."""
    if page == root_doc:
        directive = "\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {}\n\n{}\n```\n"
        source[0] += "".join(directive.format(caption, "\n".join(pages)) for caption, pages in CONTENTS.items())
    elif app.env.doc2path(page).suffix == ".ipynb":
        notebook = nbformat.reads(source[0], as_version=4)
        notebook.cells[0].source = notebook.cells[0].source.partition("\n")[2]
        for cell in notebook.cells:
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        source[0] = nbformat.writes(notebook)


def describe_pictures(app: Any, page: Any) -> None:
    """Give the notebooks' pictures the text alternatives that lie beside them; myst-nb takes only their width."""
    path = app.env.doc2path(app.env.docname)
    if path.suffix == ".ipynb":
        outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
        alts = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
        pictures = [node for node in page.findall() if node.tagname == "image" and "jupyter_execute" in node["uri"]]
        for picture, alt in zip(pictures, alts, strict=True):
            picture["alt"] = alt


def setup(app: Any) -> None:
    app.connect("builder-inited", write_api_pages)
    app.connect("source-read", prepare)
    app.connect("doctree-read", describe_pictures)
