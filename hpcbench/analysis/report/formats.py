"""The report as HTML, Markdown or JSON."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hpcbench.analysis.report.checklist import NAME as RULES
from hpcbench.analysis.report.contents import Report

TEMPLATES = Path(__file__).parent / "templates"


def inline(text: str, name: str, title: str, description: str) -> dict[str, str]:
    """An SVG file's ``text`` so that it fills its place in a page and says what it shows."""
    text = text[text.index("<svg") :]
    # Ids are unique in a page, and each figure numbers its own.
    for before in (' id="', 'href="#', "url(#"):
        text = text.replace(before, f"{before}{name}-")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening = re.compile(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', re.DOTALL)
    head = (
        f'<svg viewBox="\\1" role="img" aria-labelledby="{name}-title {name}-desc" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    )
    svg = opening.sub(head, text, count=1)
    return {"title": title, "description": description, "svg": svg}


def plain(value: Any) -> Any:
    """``value`` as JSON has it: missing and infinite numbers are null."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(report: Report) -> str:
    """The report for programs: its words, and each table's numbers at full precision."""
    without = {"tables", "figures", "numbers", "reload"}
    words = asdict(replace(report, tables=[], figures=[], numbers={}))
    said = {name: part for name, part in words.items() if name not in without}
    numbers = {name: frame.to_dict("records") for name, frame in report.numbers.items()}
    rules = {
        table.name: [
            dict(zip(table.header, (cell.text for cell in row), strict=True)) for row in table.rows
        ]
        for table in report.tables
        if table.name == RULES
    }
    return json.dumps(plain(said | numbers | rules), indent=2, allow_nan=False) + "\n"


def _template(name: str) -> Any:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def as_html(report: Report) -> str:
    """One file that needs nothing else, neither network nor folder."""
    return str(_template("report.html").render(report=report))


def as_markdown(report: Report) -> str:
    """For a pull request: words and tables, no figures."""
    escape = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", "`": "'"})
    return str(_template("report.md").render(report=report, escape=lambda t: t.translate(escape)))


AS: dict[str, Callable[[Report], str]] = {
    "html": as_html,
    "md": as_markdown,
    "json": as_json,
}
