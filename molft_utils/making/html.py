"""Executed notebooks as HTML pages that need nothing else: no network for formulas, fonts or scripts."""

import copy
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from ..files import PAGES_FOLDER, write_atomically

#: Code in a markdown cell, where a dollar is a dollar; then a formula on lines of its own; then one in the line.
_PARTS = re.compile(r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<line>[^$\n]+?)\$", re.DOTALL)

#: Stands for a formula while the converter works, which would take MathML apart.
_PLACE = "FORMULAxPLACE"

#: What the converter's template says of every picture; it does not read the outputs' own words.
_NO_WORDS = "No description has been provided for this image"

_BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")  # its picture lies elsewhere

#: Room on a phone, and dark where the reader's system is dark; figures keep their white ground.
STYLE = """
<style>
@media (prefers-color-scheme: dark) {{ {dark} img {{ background: white; }} }}
main {{ max-width: 66rem; margin: 0 auto; }}
img, svg {{ max-width: 100%; height: auto; }}
.jp-CodeMirrorEditor, .highlight pre, .jp-RenderedText pre {{ overflow-x: auto; }}
.jp-RenderedHTMLCommon table {{ display: block; overflow-x: auto; }}
.molft-way {{ display: flex; flex-wrap: wrap; justify-content: space-between; gap: 1rem; padding: 0.8rem 1rem;
  font-family: var(--jp-content-font-family); max-width: 66rem; margin: 0 auto; }}
@media (max-width: 40rem) {{ .jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser {{ display: none; }} }}
</style>
"""


def with_places(markdown: str, formulas: list[str]) -> str:
    """Markdown with a word in the place of each formula, whose MathML is added to ``formulas``; code is left alone."""

    def replace(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        display = "block" if match["block"] else "inline"
        formulas.append(convert(match["block"] or match["line"], display=display).replace("\n", " "))
        return f"{_PLACE}{len(formulas) - 1}E"

    return _PARTS.sub(replace, markdown)


def page(notebook: nbformat.NotebookNode, name: str, names: Sequence[str]) -> str:
    """The page of one of several notebooks, with the ways to its neighbours and to the index.

    Parameters
    ----------
    notebook
        With its outputs.
    name, names
        Its own, and those of all pages in order.
    """
    shown = copy.deepcopy(notebook)
    formulas: list[str] = []
    for cell in shown.cells:
        if cell.cell_type == "markdown":
            cell.source = with_places(_BADGE.sub(r"[Open in Colab](\1)", cell.source), formulas)
        elif cell.metadata.get("cellView") == "form":
            cell.metadata["transient"] = {"remove_source": True}  # the set-up's plumbing
    exporter = HTMLExporter(embed_images=True, mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    body, _ = exporter.from_notebook_node(shown, {"metadata": {"name": name}})
    body = re.sub(r'<script[^>]*src="[^"]*"[^>]*>\s*</script>', "", body)
    body = re.sub(r"<!-- Load mathjax -->.*?<!-- End of mathjax configuration -->", "", body, flags=re.DOTALL)
    body = re.sub(rf"{_PLACE}(\d+)E", lambda match: formulas[int(match[1])], body)
    alternatives = iter(alternative_texts(notebook))
    body = re.sub(_NO_WORDS, lambda match: escape(next(alternatives)), body)
    style = STYLE.format(dark=_dark_theme(exporter))
    body = body.replace("</head>", f"{style}</head>", 1)
    way = _way(name, names)
    return re.sub(r"(<body[^>]*>)", rf"\g<1>{way}", body, count=1).replace("</body>", f"{way}</body>", 1)


def alternative_texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What the pictures of a notebook show, in words, in their order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    return [output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]


def _dark_theme(exporter: HTMLExporter) -> str:
    """The colours of the template's dark theme."""
    for folder in exporter.template_paths:
        if (path := Path(folder) / "static" / "theme-dark.css").exists():
            return path.read_text(encoding="utf-8")
    return ""


def _way(name: str, names: Sequence[str]) -> str:
    """Links to the page before, the index, and the page after."""
    place = list(names).index(name)
    before = f'<a href="{names[place - 1]}.html">← {names[place - 1]}</a>' if place else "<span></span>"
    after = f'<a href="{names[place + 1]}.html">{names[place + 1]} →</a>' if place + 1 < len(names) else "<span></span>"
    return f'<nav class="molft-way">{before}<a href="index.html">all notebooks</a>{after}</nav>'


def write_page(notebook: nbformat.NotebookNode, name: str, names: Sequence[str]) -> None:
    """Write the executed notebook and its HTML page under ``runs/pages``."""
    write_atomically(PAGES_FOLDER / f"{name}.html", page(notebook, name, names))
    write_atomically(PAGES_FOLDER / f"{name}.ipynb", nbformat.writes(notebook))


def write_index(titles: dict[str, str]) -> None:
    """Write the index: the title of each page, in order."""
    rows = "\n".join(f'<li><a href="{name}.html">{escape(title)}</a></li>' for name, title in titles.items())
    write_atomically(
        PAGES_FOLDER / "index.html",
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>molft: six notebooks</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<style>:root { color-scheme: light dark; } body { font: 1.1rem/1.6 sans-serif; max-width: 44rem; "
        "margin: 2rem auto; padding: 0 1rem; } ol { padding: 0; list-style: none; }</style></head>\n"
        f"<body><h1>molft: six notebooks</h1>\n<ol>\n{rows}\n</ol></body></html>\n",
    )


def title(notebook: nbformat.NotebookNode) -> str:
    """The notebook's first heading."""
    found = re.search(
        r"^# (.+)$", "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.MULTILINE
    )
    return found[1] if found else "untitled"
