"""Hoefler and Belli's twelve rules, each kept by this very sweep, or not and why.

T. Hoefler and R. Belli, Scientific Benchmarking of Parallel Computing Systems, SC'15.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hpcbench.analysis.answers import Answers
from hpcbench.analysis.estimates import ENOUGH_RUNS
from hpcbench.analysis.load import SERIES
from hpcbench.analysis.machine import OF_CALIBRATED, OF_VENDOR
from hpcbench.analysis.pairing import in_blocks
from hpcbench.analysis.report.cells import Table, text
from hpcbench.records.identity import PROGRAM
from hpcbench.words import count

# The name of the table.
NAME = "rules"
KEPT, IN_PART, NOT = "kept", "in part", "not kept"


@dataclass(frozen=True)
class Answer:
    """What became of one rule, and why."""

    kept: str
    why: str


def _bases(answers: Answers) -> Answer:
    points = answers.points
    several = points[points["base_devices"] > 1]
    alone = points["serial_efficiency"].notna()
    best = "all" if alone.all() else f"{alone.sum()} of {len(points)}"
    above = (
        f"; of {count(several[SERIES].drop_duplicates().shape[0], 'line')} the base has several "
        f"devices"
        if len(several)
        else ""
    )
    return Answer(
        KEPT,
        f"The base is the same strategy on its smallest count, with its rate, below the points"
        f"{above}; {best} points are also held against single on one device.",
    )


def _subsets(answers: Answers) -> Answer:
    failed = len(answers.results.failed)
    said = f"; {count(failed, 'run')} that failed are listed" if failed else ""
    return Answer(
        NOT,
        f"The author has to say why these models, counts and settings were chosen{said}.",
    )


def _means(_: Answers) -> Answer:
    return Answer(
        KEPT, "A run's rate is all samples over all seconds; points are medians of such rates."
    )


def _ratios(answers: Answers) -> Answer:
    lines = [series for _, series in answers.runs.groupby(SERIES)]
    paired = sum(in_blocks(series) for series in lines)
    if not paired:
        return Answer(KEPT, "Speedups are ratios of median rates; the rates stand beside them.")
    return Answer(
        IN_PART,
        f"Repeats are blocks in {paired} of {count(len(lines), 'line')}; there speedup is the "
        f"geometric mean of the ratios within them, because only then does a slowdown of a whole "
        f"repeat cancel. The rates stand beside it.",
    )


def _intervals(answers: Answers) -> Answer:
    few = int((~answers.points["enough_runs"]).sum())
    if not few:
        return Answer(KEPT, f"95 % intervals over {ENOUGH_RUNS} runs or more at every point.")
    one = int((answers.points["runs"] == 1).sum())
    return Answer(
        NOT if one == len(answers.points) else IN_PART,
        f"{few} of {count(len(answers.points), 'point')} have fewer than {ENOUGH_RUNS} runs, so "
        f"that their 95 % intervals are too narrow"
        + (f"; {one} have a single run and no interval" if one else "")
        + ".",
    )


def _normality(answers: Answers) -> Answer:
    found = answers.normality
    assumed = (
        "Medians have bootstrap intervals, which assume no shape; logarithms of ratios within "
        "repeats, changes of accuracy and residuals of the laws are assumed normal"
    )
    if not found.points:
        return Answer(IN_PART, f"{assumed}, which so few runs cannot check.")
    left = f", {found.untested} have too few runs for it" if found.untested else ""
    return Answer(
        IN_PART,
        f"{assumed}. Shapiro and Wilk's test of the logarithms behind each speedup: "
        f"{found.doubtful} of {count(found.points, 'point')} below 5 %, where chance alone makes "
        f"{found.by_chance:.1f}{left}; with six runs it sees gross departures only. The rest is "
        f"not checked.",
    )


def _comparisons(answers: Answers) -> Answer:
    if answers.points["strategy"].nunique() < 2:
        return Answer(KEPT, "One strategy: device counts are compared by intervals of their ratio.")
    return Answer(
        KEPT,
        "Counts and strategies are compared by the interval of their ratio; caveats name the pairs "
        "that cannot be told apart.",
    )


def _percentiles(answers: Answers) -> Answer:
    printed = int(answers.tails["slowest_max"].isna().sum())
    without = int(answers.tails["slowest_p99"].isna().sum()) - printed
    some = (
        f"; {without} of {len(answers.tails)} have too few intervals a run for the 99th"
        if without
        else ""
    )
    if printed:
        some += f"; of {printed} rates alone are known, which their programs printed"
    return Answer(
        IN_PART if without or printed else KEPT,
        "Medians over runs, because training takes the sum of its steps; the 50th, 95th and 99th "
        f"percentile of step times have a table of their own{some}.",
    )


def _setup(answers: Answers) -> Answer:
    documents = answers.results.runs
    lacks = {
        name: sum(not lacking for lacking in found)
        for name, found in {
            "the commit of hpcbench": [
                d.get("provenance", {}).get("git_commit") for d in documents
            ],
            "versions of software": list(answers.observed.runs["software"]),
            "hosts": [d.get("hosts") for d in documents],
        }.items()
    }
    unknown = [f"{name} of {number} runs" for name, number in lacks.items() if number]
    where = "All settings, software, hosts and the command of each point stand under Provenance"
    if unknown:
        return Answer(IN_PART, f"{where}; not recorded: {', '.join(unknown)}.")
    return Answer(KEPT, f"{where}.")


def _timing(answers: Answers) -> Answer:
    unsteady = int(answers.observed.runs["steady"].isin([False]).sum())
    runs = answers.observed.runs
    own = runs["framework"] == PROGRAM
    programs, printed = (own & ~runs["printed"]).any(), int(runs["printed"].sum())
    return Answer(
        IN_PART if unsteady or printed else KEPT,
        "An interval starts at a barrier and ends with its slowest rank; compilation and warm-up "
        "come before. How is in hpcbench's docs/method.md"
        + (
            ". Your own programs have no such barrier: an interval is the same steps on all "
            "ranks, by the slowest one (docs/your-own-training.md)"
            if programs
            else ""
        )
        + (
            f". Of {count(printed, 'run')} the rates are those that the program printed: how it "
            f"took the time is not known"
            if printed
            else ""
        )
        + (f"; {count(unsteady, 'run')} were not steady by then" if unsteady else "")
        + ".",
    )


def _bounds(answers: Answers) -> Answer:
    points = answers.points
    known = int(points[[OF_CALIBRATED, OF_VENDOR]].notna().any(axis=1).sum())
    ideal = "Figures show ideal scaling from the base"
    if not known:
        return Answer(IN_PART, f"{ideal}. The peak performance of the hardware is not known here.")
    return Answer(
        KEPT if known == len(points) else IN_PART,
        f"{ideal}; {known} of {count(len(points), 'point')} are held against what such a device "
        f"can compute.",
    )


def _plots(_: Answers) -> Answer:
    return Answer(
        KEPT,
        "Figures show every run beside its median and interval; lines join device counts of one "
        "configuration only.",
    )


RULES: tuple[tuple[str, Callable[[Answers], Answer]], ...] = (
    ("Speedup: say what the base is, and its absolute performance", _bases),
    ("Say why only parts of a benchmark or a machine were used", _subsets),
    ("Arithmetic means for costs, harmonic means for rates", _means),
    ("Do not average ratios, but the costs or rates behind them", _ratios),
    ("Say whether it is deterministic; if not, give intervals", _intervals),
    ("Do not assume a normal distribution without a check", _normality),
    ("Compare soundly, by intervals or a test", _comparisons),
    ("Ask whether a mean or median is what matters, or a percentile", _percentiles),
    ("Document all factors and the whole set-up", _setup),
    ("Parallel times: say how they are measured and summarized", _timing),
    ("Show upper bounds", _bounds),
    ("Plot what is needed to interpret; join points only where that means something", _plots),
)


def checklist(answers: Answers) -> Table:
    """A row a rule, in the paper's order."""
    rows = []
    for place, (rule, of) in enumerate(RULES, 1):
        answer = of(answers)
        rows.append([text(f"{place}. {rule}"), text(answer.kept), text(answer.why)])
    return Table(
        NAME,
        "Checklist of twelve rules",
        "The rules of T. Hoefler and R. Belli, Scientific Benchmarking of Parallel Computing "
        "Systems (SC'15), in short, and whether this sweep follows them.",
        ["rule", "here", "why"],
        rows,
    )
