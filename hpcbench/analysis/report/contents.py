"""Everything that a report says, in its order."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from hpcbench.analysis.answers import Answers
from hpcbench.analysis.collectives import Collectives
from hpcbench.analysis.report.accuracy import accuracy_report
from hpcbench.analysis.report.cells import Table
from hpcbench.analysis.report.checklist import checklist
from hpcbench.analysis.report.citation import cite
from hpcbench.analysis.report.collectives import collectives_tables, in_lines
from hpcbench.analysis.report.efficient import efficient_table
from hpcbench.analysis.report.exchange import exchange_report
from hpcbench.analysis.report.exchange import sentences as exchange_sentences
from hpcbench.analysis.report.failed import failed_table
from hpcbench.analysis.report.laws import laws_table
from hpcbench.analysis.report.machine import machine_report, machine_sentences, over_the_peak
from hpcbench.analysis.report.points import points_table
from hpcbench.analysis.report.provenance import Provenance, facts_of, provenance_of
from hpcbench.analysis.report.step_time import step_table
from hpcbench.analysis.report.summary import summary
from hpcbench.analysis.report.tails import rank_tails_table, tails_table
from hpcbench.analysis.report.why import sentences, why_report
from hpcbench.analysis.validity import Caution


@dataclass
class Report:
    """Everything that a report says, in its order; ``apart``: which lines are not joined;
    ``numbers``: those behind the tables, at full precision."""

    title: str
    summary: list[str]
    warnings: list[str]
    cautions: list[Caution]
    apart: list[str]
    tables: list[Table]
    provenance: list[Provenance] = field(default_factory=list)
    citation: str = ""
    bibtex: str = ""
    figures: list[dict[str, str]] = field(default_factory=list)
    numbers: dict[str, pd.DataFrame] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)
    # Whether it is of a sweep that goes on, so that whoever looks at it wants the next one.
    reload: bool = False


def build_of_collectives(measured: Collectives, where: str) -> Report:
    """The report of a folder, ``where``, that holds no runs of training."""
    return Report(
        title=f"How fast ranks exchange bytes: {where}",
        summary=list(in_lines(measured.points)),
        warnings=[f"left out {reason}" for reason in measured.skipped],
        cautions=[],
        apart=[],
        tables=collectives_tables(measured),
        provenance=[
            Provenance(
                f"launch-{number}",
                f"Launch {launch}",
                # A host a rank.
                facts_of([document], len(document.get("hosts", []))),
            )
            for number, (launch, document) in enumerate(measured.launches.items())
        ],
        numbers=_numbers_of(measured),
    )


def build(answers: Answers, price: float | None) -> Report:
    """The report without its figures; ``price`` of a device-hour adds a column of costs."""
    results, runs = answers.results, answers.observed.runs
    citation, bibtex = cite(runs, results.runs)
    tables = [points_table(answers.every_point, price)]
    step = step_table(answers.points)
    if step:
        tables.append(step)
    machine = machine_report(answers.points)
    if machine:
        tables.append(machine)
    why = why_report(answers.why)
    if why:
        tables.append(why)
    exchange = exchange_report(answers.exchange)
    if exchange:
        tables.append(exchange)
    tables.append(tails_table(answers.tails))
    if len(answers.rank_tails):
        tables.append(rank_tails_table(answers.rank_tails))
    if len(answers.accuracy):
        tables.append(accuracy_report(answers.accuracy))
    tables.append(efficient_table(answers.largest))
    if len(answers.laws):
        tables.append(laws_table(answers.laws))
    tables += collectives_tables(answers.collectives)
    if results.failed:
        tables.append(failed_table(results.failed))
    tables.append(checklist(answers))
    return Report(
        title=f"How training scales: {', '.join(sorted(runs['sweep'].unique()))}",
        summary=[
            *summary(answers.points),
            *sentences(answers.why),
            *exchange_sentences(answers.exchange),
            *machine_sentences(answers.points),
        ],
        warnings=[
            *over_the_peak(answers.points),
            *(f"left out {reason}" for reason in results.skipped),
            *(f"left out {reason}" for reason in answers.collectives.skipped),
        ],
        cautions=answers.cautions,
        apart=answers.observed.apart,
        tables=tables,
        provenance=provenance_of(answers.every_point, runs, results.runs),
        citation=citation,
        bibtex=bibtex,
        numbers={
            "points": answers.every_point,
            "accuracy": answers.accuracy,
            "tails": answers.tails,
            "rank_tails": answers.rank_tails,
            "largest_efficient": answers.largest,
            "laws": answers.laws,
            "exchange": answers.exchange,
            **_numbers_of(answers.collectives),
        },
        failed=results.failed,
    )


def _numbers_of(measured: Collectives) -> dict[str, pd.DataFrame]:
    return {"collectives": measured.points, "collective_fits": measured.fits}
