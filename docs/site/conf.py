"""Sphinx's settings for the manual: the pages of docs/ as they are, Python's API from the installed package (autodoc), C's from
the headers (c_api.py). scripts/docs builds it, with every warning an error.
"""
import importlib.util
import os
import pathlib
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
import c_api  # noqa: E402

_DOCS = pathlib.Path(__file__).resolve().parents[1]
_ROOT = _DOCS.parent

project = "Tutti"
author = "the authors of Tutti"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
root_doc = "site/index"
html_theme = "alabaster"
html_theme_options = {"description": "Collective communication for processes that differ", "page_width": "1100px"}
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
highlight_language = "none"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = [name for name in ("torch", "torchft") if importlib.util.find_spec(name) is None]


def _without_markup(_app, _what, _name, _object, _options, lines):
    """Docstrings are plain sentences, in which * and _ and ` stand for themselves; indented lines are code."""
    text = "\n".join(lines)
    parts = re.split(r"((?:^(?: {4}.*)?\n?)+)", text, flags=re.MULTILINE)
    plain = []
    for part in parts:
        if part.startswith("    ") or "\n    " in part:
            plain.append("\n::\n\n" + part.rstrip() + "\n\n")
        else:
            plain.append(re.sub(r"([*_`|\\])", r"\\\1", part))
    lines[:] = "".join(plain).split("\n")


def _links_inside(_app, page, source):
    """What a page points to outside docs/ is named, since the manual does not carry it."""

    def plain(match):
        target = match[2].split("#")[0]
        folder = (_DOCS / page).parent
        if target.startswith("http") or not target:
            return match[0]
        found = (folder / target).resolve()
        if found.suffix == ".md" and found.is_relative_to(_DOCS):
            return match[0]
        if not found.exists():
            raise FileNotFoundError(f"{page} points to {target}, which is not there")
        if found.is_relative_to(_DOCS) and found.suffix in (".svg", ".png"):
            return match[0]
        return f"{match[1]} (`{found.relative_to(_ROOT)}`)"

    source[0] = re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", plain, source[0])


def setup(app):
    c_api.write(_ROOT / "include" / "tutti", _DOCS / "site" / "c.md")
    app.connect("autodoc-process-docstring", _without_markup)
    app.connect("source-read", _links_inside)
