"""The report: the sweep's answers as one structure, written as HTML, Markdown or JSON."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from answers import Answers
from figures import WITHIN, looks
from hpcbench import __version__
from hpcbench.records.schema import ACCURACY
from observations import PANEL, RUN, SERIES, SETTINGS, SHARED, SUBJECT, Row
from scaling import CONFIDENCE, EFFICIENT, subject

TEMPLATES = Path(__file__).parent / "templates"
# A sentence a model is what a reader can take in; the rest is in the tables.
SENTENCES = 8


@dataclass(frozen=True)
class Cell:
    """What a table shows, and what it is sorted by."""

    text: str
    value: float | str | None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the report; ``note`` says how to read it."""

    name: str
    title: str
    note: str
    header: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Provenance:
    """Where the runs of one point come from."""

    anchor: str
    title: str
    facts: list[tuple[str, str]]


@dataclass
class Report:
    """Everything that a report says, in its order."""

    title: str
    summary: list[str]
    warnings: list[str]
    cautions: list[str]
    tables: list[Table]
    provenance: list[Provenance]
    citation: str
    bibtex: str
    figures: list[dict[str, str]] = field(default_factory=list)


def number(value: Any, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, with thousands separated; a dash if missing."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "not reached"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(float(value), places):,.{max(places, 0)}f}"


def between(row: Row, name: str, show: Callable[[Any], str] = number) -> Cell:
    """A value with its interval: "91 % [88, 93]"."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    value = float(row[name])
    text = show(value)
    if not (math.isnan(low) or math.isnan(high) or low == high):
        bounds = ", ".join(show(bound).removesuffix(" %") for bound in (low, high))
        text += f" [{bounds}]"
    return Cell(text, value)


def percent(value: Any) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.0f} %"


def precise(value: Any) -> str:
    """A percentage as accuracies are quoted."""
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def summary(table: pd.DataFrame) -> list[str]:
    """A sentence for each model and kind of scaling: what is kept at its largest count."""
    looks_of = looks(table)
    sentences = []
    for key, rows in table.groupby(["model", "dataset", "scaling", "device_kind"], sort=True):
        ends = rows.loc[rows.groupby(WITHIN)["devices"].idxmax()]
        ends = ends[ends["devices"] > ends["base_devices"]]
        if ends.empty:
            continue
        largest = ends["devices"].max()
        ends = ends.sort_values(["devices", "efficiency"], ascending=False)
        kept = [
            f"{_kept(row)}{' of ideal speed' * (place == 0)} under "
            f"{looks_of[tuple(row[name] for name in WITHIN)].label}"
            + (f" (at {row['devices']})" if row["devices"] < largest else "")
            for place, row in enumerate(ends.to_dict("records"))
        ]
        model, dataset, scaling, kind = key
        sentences.append(
            f"At {largest} devices {model} keeps {', '.join(kept)} "
            f"({dataset}, {scaling} scaling, {kind})."
        )
    if not sentences:
        return ["All runs are on one device count, so there is no scaling to speak of."]
    more = len(sentences) - SENTENCES
    return sentences[:SENTENCES] + ([f"And {more} more, in the table."] if more > 0 else [])


def _kept(row: Row) -> str:
    low, high = row["efficiency_low"], row["efficiency_high"]
    interval = "" if math.isnan(low) else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * row['efficiency']:.0f} %{interval}"


def varying_settings(table: pd.DataFrame) -> list[str]:
    """The settings that have to be shown, since they are not the same for a model and strategy."""
    text = table[table["runs"] > 0].astype(dict.fromkeys(SETTINGS, str))
    return [
        name for name in SETTINGS
        if text.groupby(PANEL if name in SHARED else SUBJECT)[name].nunique().max() > 1
    ]  # fmt: skip


def points_table(table: pd.DataFrame, price: float | None) -> Table:
    extra = varying_settings(table)
    header = [
        "model", "data", "strategy", "scaling", *extra, "devices", "runs", "failed", "samples/s",
        "step, ms", "speedup", "efficiency", "against single", "load balance", "communication",
        "computation", "serial fraction", "device-hours per million samples",
    ]  # fmt: skip
    counted = table["samples_per_joule"].notna().any()
    if counted:
        header.append("samples per joule")
    if price is not None:
        header.append("cost per million samples")
    rows = []
    for index, row in enumerate(table.to_dict("records")):
        cells = [
            Cell(row["model"], row["model"], f"point-{index}" if row["runs"] else ""),
            *(_text(row[name]) for name in ("dataset", "strategy", "scaling", *extra)),
            *(Cell(str(row[name]), row[name]) for name in ("devices", "runs", "failed")),
            between(row, "samples_per_second", lambda value: number(value, 4)),
            between(row, "step_seconds", lambda seconds: number(1e3 * seconds)),
            between(row, "speedup"),
            between(row, "efficiency", percent),
            between(row, "serial_efficiency", percent),
            *(
                Cell(percent(row[f"{name}"]), row[name])
                for name in (
                    "load_balance", "communication_efficiency", "computation_efficiency",
                )
            ),
            *(
                Cell(number(row[name], 2), row[name])
                for name in ("serial_fraction", "device_hours_per_million_samples")
            ),
        ]  # fmt: skip
        if counted:
            cells.append(between(row, "samples_per_joule"))
        if price is not None:
            cost = price * row["device_hours_per_million_samples"]
            cells.append(Cell(number(cost, 3), cost))
        rows.append(cells)
    bases = sorted(
        {f"{row['strategy']} {row['model']} on {row['base_devices']:.0f}: "
         f"{number(row['base_samples_per_second'], 4)} samples/s"
         for row in table.to_dict("records") if row["runs"]}
    )  # fmt: skip
    return Table(
        "points", "Points",
        f"Medians over runs with {CONFIDENCE:.0%} bootstrap intervals. Speedup and efficiency are "
        "relative to the same strategy on its smallest count; “against single” to the strategy "
        "single on one device. Efficiency is load balance × communication × computation (POP), "
        "from steps timed without the exchange. Bases: " + "; ".join(bases) + ".",
        header, rows,
    )  # fmt: skip


def _text(value: Any) -> Cell:
    return Cell(str(value), str(value))


def _shown(metric: str) -> Callable[[Any], str]:
    return precise if metric == ACCURACY else number


def _change(row: Row) -> str:
    return f"{100 * row['change']:+.2f}" if row["metric"] == ACCURACY else f"{row['change']:+.3g}"


def quality_table(accuracy: pd.DataFrame) -> Table:
    extra = varying_settings(accuracy)
    if accuracy["training"].nunique() > 1:
        extra.append("training")
    rows = [
        [
            *(_text(row[name]) for name in ("model", "dataset", "strategy", "scaling", *extra)),
            *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
            _text(str(row["metric"]).replace("_", " ")),
            between(row, "final_accuracy", _shown(row["metric"])),
            Cell(_change(row), row["change"]),
            _text(row["verdict"]),
            Cell(_shown(row["metric"])(row["target"]), row["target"]),
            Cell(f"{row['reached']}", row["reached"]),
            Cell(number(row["epochs_to_target"], 2), row["epochs_to_target"]),
            between(row, "seconds_to_target"),
        ]
        for row in accuracy.to_dict("records")
    ]
    return Table(
        "accuracy", "Accuracy, and time to it",
        "Final test metric; its change (of accuracies in points) against the smallest count, and "
        "whether that is a loss (one-sided Mann-Whitney test over runs, Holm-corrected, 5 %). Time "
        "to the target is training time alone, to the end of the first epoch that reached it.",
        ["model", "data", "strategy", "scaling", *extra, "devices", "runs", "metric", "final",
         "change", "verdict", "target", "runs that reached it", "epochs", "seconds"],
        rows,
    )  # fmt: skip


def efficient_table(largest: pd.DataFrame) -> Table:
    extra = varying_settings(largest)
    return Table(
        "efficient", f"Largest count with {EFFICIENT:.0%} efficiency",
        "The largest measured device count up to which efficiency never falls below that.",
        ["model", "data", "strategy", "scaling", *extra, "devices", "efficiency there",
         "measured up to"],
        [
            [
                *(_text(row[name]) for name in ("model", "dataset", "strategy", "scaling", *extra)),
                Cell(str(row["devices"]), row["devices"]),
                Cell(percent(row["efficiency"]), row["efficiency"]),
                Cell(str(row["largest_measured"]), row["largest_measured"]),
            ]
            for row in largest.to_dict("records")
        ],
    )  # fmt: skip


def laws_table(laws: pd.DataFrame) -> Table:
    extra = varying_settings(laws)
    rows = []
    for row in laws.to_dict("records"):
        named = "; ".join(
            f"{p['name']} {number(p['value'])} [{number(p['low'])}, {number(p['high'])}]"
            for p in row["parameters"]
        )
        rows.append(
            [
                *(_text(row[name]) for name in ("model", "dataset", "strategy", "scaling", *extra)),
                _text(row["law"]),
                _text(named),
                Cell(number(row["most_useful"]), row["most_useful"]),
                Cell(str(row["largest"]), row["largest"]),
                between(row, "predicted"),
                Cell(number(row["measured"]), row["measured"]),
            ]
        )
    return Table(
        "laws", "Fitted laws",
        "The law with the lowest corrected Akaike criterion among those that the points suffice "
        "for, with 95 % intervals. Predicted: the rate at the largest count by a fit without it.",
        ["model", "data", "strategy", "scaling", *extra, "law", "parameters",
         "fastest at about", "largest count", "predicted there", "measured there"],
        rows,
    )  # fmt: skip


def predictions(laws: pd.DataFrame) -> list[str]:
    """How well each law foretells its largest count from the others."""
    return [
        f"{row['law']} for {subject(row)}: without the runs at {row['largest']} it expects "
        f"{between(row, 'predicted').text} samples/s there, measured {number(row['measured'])}."
        for row in laws.to_dict("records")
        if not math.isnan(row["predicted"])
    ]


def failed_table(failed: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for document in failed:
        config = document.get("config") or {}
        rows.append(
            [
                _text(document.get("run_id") or Path(document["folder"]).name),
                *(_text(config.get(name, "–")) for name in ("model", "strategy")),
                Cell(str(config.get("devices", "–")), config.get("devices")),
                _text(document.get("status", "–")),
                _text(document.get("failure", "–")),
                _text(document["message"]),
            ]
        )
    return Table(
        "failed", "Runs that did not end well",
        "None of their rows are in the figures.",
        ["run", "model", "strategy", "devices", "status", "class", "message"], rows,
    )  # fmt: skip


def provenance_of(
    table: pd.DataFrame, runs: pd.DataFrame, documents: list[dict[str, Any]]
) -> list[Provenance]:
    """The facts of each point's runs, with what differs between them listed."""
    by_run = {(d["sweep"], d["run_id"]): d for d in documents}
    groups = dict(list(runs.groupby([*SERIES, "devices"])))
    found = []
    for index, row in enumerate(table.to_dict("records")):
        if not row["runs"]:
            continue
        group = groups[tuple(row[name] for name in [*SERIES, "devices"])]
        there = [by_run[key] for key in group[RUN].itertuples(index=False, name=None)]
        plural = "s" * (row["devices"] > 1)
        found.append(
            Provenance(
                f"point-{index}",
                f"{row['strategy']} {row['model']} on {row['devices']} device{plural}",
                _facts(there, row),
            )
        )
    return found


def _facts(documents: list[dict[str, Any]], row: Row) -> list[tuple[str, str]]:
    known = [document.get("provenance", {}) for document in documents]
    jobs = [p.get("scheduler", {}).get("SLURM_JOB_ID") for p in known]
    facts = [
        ("device", [row["device_kind"]]),
        ("settings", [", ".join(f"{name} {row[name]}" for name in SETTINGS[1:-1])]),
        ("software", [row["software"]]),
        ("MPI", [p.get("mpi") for p in known]),
        ("GPU driver", [p.get("gpu_driver") for p in known]),
        ("hosts", [host for document in documents for host in document.get("hosts", [])]),
        ("commit", [p.get("git_commit") for p in known]),
        ("jobs", jobs),
        ("imported from", [p.get("imported_from") for p in known]),
        ("environment", [f"{k}={v}" for p in known for k, v in p.get("settings", {}).items()]),
        ("runs", [document["run_id"] for document in documents]),
        ("command of the first", [" ".join(known[0].get("command", []))]),
    ]
    said = ((name, sorted({str(value) for value in values if value})) for name, values in facts)
    return [(name, ", ".join(values)) for name, values in said if values]


def cite(runs: pd.DataFrame, documents: list[dict[str, Any]]) -> tuple[str, str]:
    """A sentence and a BibTeX entry that say which measurement this is."""
    content = runs.sort_values(RUN)[[*RUN, "samples_per_second"]].to_csv(index=False)
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    sweeps = ", ".join(sorted(runs["sweep"].unique()))
    kinds = ", ".join(sorted(runs["device_kind"].unique()))
    commits = sorted({d.get("provenance", {}).get("git_commit") or "" for d in documents} - {""})
    years = sorted({str(started)[:4] for started in runs["started"] if started})
    commit = f", commit {', '.join(c[:10] for c in commits)}" if commits else ""
    date = f", {'–'.join(dict.fromkeys([years[0], years[-1]]))}" if years else ""
    what = f"sweep {sweeps}: {len(runs)} runs on {kinds}"
    sentence = f"hpcbench {__version__}{commit}; {what}{date}; data {digest}."
    year = f"  year = {{{years[-1]}}},\n" if years else ""
    return sentence, (
        f"@misc{{hpcbench-{digest},\n  title = {{{what}}},\n{year}"
        f"  note = {{Measured with hpcbench {__version__}{commit}; data {digest}}}\n}}"
    )


def build(answers: Answers, price: float | None) -> Report:
    """The report without its figures; ``price`` of a device-hour adds a column of costs."""
    results, runs = answers.results, answers.observed.runs
    citation, bibtex = cite(runs, results.runs)
    tables = [points_table(answers.every_point, price)]
    if len(answers.accuracy):
        tables.append(quality_table(answers.accuracy))
    tables.append(efficient_table(answers.largest))
    if len(answers.laws):
        tables.append(laws_table(answers.laws))
    if results.failed:
        tables.append(failed_table(results.failed))
    return Report(
        title=f"How training scales: {', '.join(sorted(runs['sweep'].unique()))}",
        summary=summary(answers.points),
        warnings=[f"left out {reason}" for reason in results.skipped],
        cautions=answers.doubts,
        tables=tables,
        provenance=provenance_of(answers.every_point, runs, results.runs),
        citation=citation,
        bibtex=bibtex,
    )


def inline(text: str, name: str, title: str, description: str) -> dict[str, str]:
    """An SVG file's ``text`` so that it fills its place in a page and says what it shows."""
    text = text[text.index("<svg") :]
    # Ids are unique in a page, and each figure numbers its own.
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    opening = re.compile(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', re.DOTALL)
    head = (
        f'<svg viewBox="\\1" role="img" aria-labelledby="{name}-title {name}-desc" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    )
    svg = opening.sub(head, text, count=1)
    return {"title": title, "description": description, "svg": svg}


def _plain(value: Any) -> Any:
    """``value`` as JSON has it: missing and infinite numbers are null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(report: Report, answers: Answers) -> str:
    """The report for programs: its words, and each table's numbers at full precision."""
    words = {
        name: part for name, part in asdict(report).items() if name not in ("tables", "figures")
    }
    numbers = {
        "points": answers.every_point,
        "accuracy": answers.accuracy,
        "largest_efficient": answers.largest,
        "laws": answers.laws,
    }
    frames = {name: frame.to_dict("records") for name, frame in numbers.items()}
    whole = _plain(words | frames | {"failed": answers.results.failed})
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def _template(name: str) -> Any:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def as_html(report: Report, _: Answers) -> str:
    """One file that needs nothing else, neither network nor folder."""
    return str(_template("report.html").render(report=report))


def as_markdown(report: Report, _: Answers) -> str:
    """For a pull request: words and tables, no figures."""
    escape = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", "`": "'"})
    return str(_template("report.md").render(report=report, escape=lambda t: t.translate(escape)))


FORMATS: dict[str, Callable[[Report, Answers], str]] = {
    "html": as_html,
    "md": as_markdown,
    "json": as_json,
}
