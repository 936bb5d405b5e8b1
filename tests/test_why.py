"""Why a point loses: causes that are put in are found, by name, in milliseconds, with the rank."""

import re
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pytest
from greenlet import getcurrent, greenlet

from hpcbench.analysis.load import run_table, with_names
from hpcbench.analysis.phases import slow_rank
from hpcbench.analysis.scaling import scaling_table
from hpcbench.analysis.why import CAUSES, sentence, why_table
from hpcbench.frameworks.backend import Exchange
from hpcbench.records.identity import RUN
from hpcbench.records.schema import PHASE_NO_EXCHANGE, PHASE_TRAIN, RankTimes
from hpcbench.training import beside, clock
from hpcbench.training.beside import Beside, Rounds
from hpcbench.training.clock import Clock
from support.runs import rows, runs_of

STEPS, BESIDE_STEPS, INTERVALS, RUNS = 6, 20, 30, 6
COMPUTE, LATENCY = 10e-3, 0.05e-3


@dataclass(frozen=True)
class Truth:
    """What is put into a step, in seconds: the exchange, of which so much is hidden; of each rank
    what it takes longer always, and at the end of a run after none at its beginning; the jitter of
    each rank and step, a standard deviation; what all take longer beside others; what samples take
    to come, as they do not on the base; what a thread of each rank's own takes of its core, and
    what more of steps that do not exchange gradients; and how often exchanges begin, as those of a
    library whose thread wakes in cycles."""

    exchange: float = 0.0
    hidden: float = 0.0
    slower: tuple[float, ...] = (0.0,)
    growing: tuple[float, ...] = (0.0,)
    jitter: float = 0.02e-3
    contention: float = 0.0
    input: float = 0.0
    background: float = 0.0
    background_free: float = 0.0
    cycle: float = 0.0

    def background_of(self, exchange: Exchange) -> float:
        """Of a step."""
        return self.background + (exchange is not Exchange.GRADIENTS) * self.background_free


class Ranks:
    """Ranks that take turns, whose time is made up: each step adds to its rank's, to meet takes
    the latest of all. They wait for each other once for many steps, which are then worked out."""

    def __init__(self, count: int, truth: Truth, seed: int) -> None:
        self.count, self.truth = count, truth
        self._rank = 0
        self._now, self._rows = [0.0] * count, [np.zeros(0)] * count
        self._met = np.zeros((0, 0))
        # From 0 to 1.
        self.course = 0.0
        self._chances = [np.random.default_rng([seed, rank]) for rank in range(count)]

    def now(self) -> float:
        return self._now[self._rank]

    def take(self, seconds: float) -> None:
        self._now[self._rank] += seconds

    def _shared(self, values) -> tuple[np.ndarray, np.ndarray]:
        """What time it is on each rank, and all ranks' ``values``."""
        self._rows[self._rank] = np.array([self.now(), *values], float)
        # To where ranks are given their turns.
        getcurrent().parent.switch()
        return self._met[:, 0], self._met[:, 1:]

    def meet(self, busy, then: float) -> None:
        """Time after time: this rank is ``busy`` for so long, meets the others, and all need so
        long ``then``."""
        times, of_all = self._shared(busy)
        for of_ranks in of_all.T:
            ready = (times + of_ranks).max()
            if self.truth.cycle:
                ready = np.ceil(ready / self.truth.cycle) * self.truth.cycle
            times = np.full(self.count, ready + then)
        self._now[self._rank] = times[0]

    def all_gather(self, values) -> np.ndarray:
        times, rows = self._shared(values)
        self._now[self._rank] = times.max()
        return rows

    def compute(self, steps: int, alone: bool, held: bool) -> np.ndarray:
        rank, truth = self._rank, self.truth
        slower = truth.slower[rank % len(truth.slower)]
        slower += self.course * truth.growing[rank % len(truth.growing)]
        jitter = np.abs(self._chances[rank].normal(0, truth.jitter, steps))
        beside = 0 if alone else truth.contention
        coming = 0 if held else truth.input
        return COMPUTE + slower + jitter + beside + coming

    def run(self, work) -> list:
        results: list = [None] * self.count

        def of(rank: int) -> None:
            results[rank] = work(rank)

        ranks = [greenlet(of) for _ in range(self.count)]
        while not all(rank.dead for rank in ranks):
            # All meet as often, so that a turn of each is one meeting.
            for number, rank in enumerate(ranks):
                self._rank = number
                rank.switch(number)
            self._met = np.array(self._rows)
        return results


@dataclass
class Backend:
    """As ``hpcbench.frameworks.backend.Backend``, as far as it is asked."""

    ranks: Ranks
    alone: bool = False
    background_behind: float = 0.0

    def steps(self, order, rates, first_step=0, exchange=Exchange.GRADIENTS, held=None):
        background = self.ranks.truth.background_of(exchange)
        self.background_behind += len(rates) * background
        busy = self.ranks.compute(len(rates), self.alone, held is not None) + background
        if exchange is Exchange.NONE:
            self.ranks.take(busy.sum())
        else:
            whole = exchange is Exchange.GRADIENTS
            self.ranks.meet(busy, LATENCY + whole * self.ranks.truth.exchange)

    def hold(self, rows):
        return rows

    def exchanges(self, count, exchange):
        truth = self.ranks.truth
        whole = truth.exchange + truth.hidden if exchange is Exchange.GRADIENTS else 0
        self.ranks.meet(np.zeros(count), LATENCY + whole)

    def put_back(self):
        return nullcontext()


@dataclass
class Background:
    """As ``hpcbench.devices.background.BackgroundThreads``: so much a step."""

    backend: Backend
    began: float = 0.0

    def begin(self):
        self.began = self.backend.background_behind

    def end(self):
        return self.backend.background_behind - self.began


def measured(monkeypatch, devices: int, truth: Truth, run: int) -> list[RankTimes]:
    """What a run times, of training and beside, by the project's own rounds and clock."""
    ranks = Ranks(devices, truth, seed=run)
    monkeypatch.setattr(clock.time, "perf_counter", ranks.now)
    monkeypatch.setattr(beside.time, "sleep", ranks.take)

    def of(rank: int) -> list[RankTimes]:
        backend, times = Backend(ranks), []
        own = Clock(ranks.all_gather, Background(backend))
        rounds = Rounds(backend, own, devices, devices, rank == 0, seed=0)
        after = Beside(5).after(INTERVALS, devices)
        order, rates = np.zeros((STEPS, 1, 1), np.int32), np.zeros(STEPS)
        rates_beside = np.zeros(BESIDE_STEPS)
        for interval in range(INTERVALS):
            ranks.course = interval / (INTERVALS - 1)
            timing, _ = own.time(lambda: backend.steps(order, rates) or [])
            background = timing.background_of_ranks
            times.append(RankTimes(PHASE_TRAIN, interval, STEPS, timing.of_ranks, background))
            for number in range(after[interval]):
                alone = rounds.round(number, interval, order, rates_beside, COMPUTE)
                while True:
                    # While it is timed alone nobody is beside it.
                    backend.alone = False
                    found = next(alone, None)
                    if found is None:
                        break
                    times.append(found)
        return times

    original = Rounds._alone

    def alone(self, *args):
        self._backend.alone = True
        try:
            return original(self, *args)
        finally:
            self._backend.alone = False

    monkeypatch.setattr(Rounds, "_alone", alone)
    found = ranks.run(of)[0]
    monkeypatch.undo()
    return found


def reasons(monkeypatch, truth: Truth, devices: int = 4, first: int = 0) -> dict:
    """The row of ``devices`` in the table of reasons, from six runs of one and of so many."""
    throughput, ranks, documents = [], [], []
    for count in (1, devices):
        for run in range(RUNS):
            found = measured(monkeypatch, count, truth if count > 1 else Truth(), first + run)
            (like,) = rows(count, [1.0])
            like = like | {"run_id": f"{count}-{run}", "repeat": run}
            for times in found:
                if times.phase == PHASE_TRAIN:
                    whole = max(times.seconds)
                    throughput.append(
                        like
                        | {"interval": times.interval, "steps": times.steps}
                        | {"samples": times.steps * like["global_batch"], "seconds": whole}
                        | {"mean_rank_seconds": sum(times.seconds) / len(times.seconds)}
                        | {"fastest_rank_seconds": min(times.seconds)}
                    )
                of_run = {name: like[name] for name in RUN}
                ranks += [of_run | asdict(row) for row in times.rows()]
            hosts = [f"node{1 + rank // 2}" for rank in range(count)]
            documents.append({name: like[name] for name in RUN} | {"hosts": hosts})
    table = pd.DataFrame(ranks)
    runs = run_table(pd.DataFrame(throughput), None, table)
    runs = with_names(runs.assign(options="", software="", data_seconds=np.nan))
    (row,) = why_table(scaling_table(runs), runs, table, documents).to_dict("records")
    return row


# With the causes to be found, the rank to be named, and whether as one that becomes slower.
INJECTED = {
    "nothing": (Truth(), {}, None, False),
    "exchange": (Truth(exchange=2e-3, hidden=1e-3), {"exchange": 2e-3 + LATENCY}, None, False),
    "one rank slower always": (Truth(slower=(0, 0, 2e-3, 0)), {"waiting": 2e-3}, 2, False),
    "one rank ever slower": (Truth(growing=(0, 4e-3, 0, 0)), {"waiting": 2e-3}, 1, True),
    "jitter of all, at random": (
        Truth(jitter=1e-3),
        {"waiting": 0.66e-3, "extra_compute": 0.8e-3},
        None,
        False,
    ),
    "contention": (Truth(contention=1e-3), {"contention": 1e-3}, None, False),
    "input": (Truth(input=1e-3), {"extra_input": 1e-3}, None, False),
    "a thread of its own": (Truth(background=1e-3), {"extra_background": 1e-3}, None, False),
    # As Horovod's does on cores that compute: more than the exchange costs.
    "a thread of its own, busier without exchange": (
        Truth(exchange=2e-3, background=1e-3, background_free=5e-3),
        {"extra_background": 1e-3, "exchange": 2e-3 + LATENCY},
        None,
        False,
    ),
    # What a thread took is within a step of which the meeting is longer than the compute too.
    "a cycle, and a thread of its own": (
        Truth(exchange=1.7e-3, background=1e-3, jitter=0.05e-3, cycle=30e-3),
        {"extra_background": 1e-3, "exchange": 18.9e-3},
        None,
        False,
    ),
    # About half a cycle passes between a step's compute and its exchange, a whole one between
    # exchanges.
    "a cycle, and one rank slower": (
        Truth(exchange=1.7e-3, slower=(0, 0, 0, 1e-3), jitter=0.2e-3, cycle=2e-3),
        {"exchange": 1.7e-3 + LATENCY + 1e-3, "waiting": 1e-3},
        3,
        False,
    ),
    "all of it": (
        Truth(exchange=2e-3, slower=(0, 1e-3, 0, 0), contention=1e-3, input=0.8e-3),
        {"exchange": 2e-3 + LATENCY, "contention": 1e-3, "waiting": 1e-3, "extra_input": 0.8e-3},
        1,
        False,
    ),
}


@pytest.mark.parametrize("what", INJECTED)
def test_what_is_put_in_is_blamed_and_nothing_else(what, monkeypatch):
    truth, expected, rank, grows = INJECTED[what]
    right = named = 0
    for trial in range(10):
        row = reasons(monkeypatch, truth, first=1000 * (10 + trial))
        found = {name: row[f"{name}_seconds"] for name in row["blamed"]}
        near = all(found.get(n, 0) == pytest.approx(v, rel=0.2) for n, v in expected.items())
        right += set(found) == set(expected) and near
        as_growing = not np.isnan(row["excess_at_end"])
        named += (row["rank"], as_growing) == (rank, grows)
        total = np.nansum([row[f"{name}_seconds"] for name in (*CAUSES, "rest")])
        assert total == pytest.approx(row["loss_seconds"])
        least = np.nanmin([row[f"{name}_seconds"] for name in CAUSES])
        assert least > -0.03 * row["step_seconds"], "one has what another lacks"
    assert right >= 9, (right, found)
    # One in twenty by chance of each kind.
    assert named >= 8, named


def test_causes_that_are_more_than_a_step_takes_are_called_too_much(monkeypatch):
    """As where steps that only meet are slower than whole ones: the exchange is negative then."""
    row = reasons(monkeypatch, INJECTED["one rank slower always"][0])
    assert "too much" not in sentence(row)
    said = sentence(row | {"exchange_seconds": -1e-3})
    assert "; these are too much by 1 ms, by which steps in which ranks only meet" in said


def test_a_step_of_seconds_is_told_without_exponents(monkeypatch):
    row = reasons(monkeypatch, INJECTED["one rank slower always"][0])
    slow = {name: 1e6 * row[name] for name in row if "_seconds" in name}
    said = sentence(row | slow)
    assert row["blamed"]
    assert re.search(r"takes \d+(,\d{3})+ ms", said), said
    assert "e+" not in said, said


def test_ranks_that_are_alike_are_seldom_called_slow():
    """As often as is said of either kind, the fewest rounds of a run being three."""
    runs, rounds, ranks, sweeps = 6, 3, 2, 400
    generator = np.random.default_rng(1)
    places = pd.MultiIndex.from_product(
        [["made-up"], map(str, range(runs)), range(rounds), range(ranks)],
        names=["sweep", "run_id", "interval", "rank"],
    )
    table = places.to_frame(index=False).assign(phase=PHASE_NO_EXCHANGE, steps=20)
    slow = growing = 0
    for _ in range(sweeps):
        seconds = 1 + 0.01 * generator.standard_normal(len(table))
        found = slow_rank(table.assign(seconds=seconds), {})
        grows = not np.isnan(found["excess_at_end"])
        growing += grows
        slow += found["rank"] is not None and not grows
    assert slow <= 0.08 * sweeps
    assert growing <= 0.08 * sweeps


def test_what_is_left_of_a_programs_loss_has_an_interval():
    """A step of 10 ms, of which 1 waits for data; on four devices 15 ms, of which 3 do."""
    generator = np.random.default_rng(5)
    parts, waits = [], {1: 1e-3, 4: 3e-3}
    for devices, step in ((1, 10e-3), (4, 15e-3)):
        of_count = rows(devices, [0] * RUNS)
        for row in of_count:
            seconds = 100 * step * np.exp(0.002 * generator.standard_normal())
            row |= {"steps": 100, "samples": 100 * row["global_batch"], "seconds": seconds}
        parts.append(of_count)
    runs = runs_of(*parts)
    waited = runs["devices"].map(waits) * (1 + 0.01 * generator.standard_normal(len(runs)))
    runs = runs.assign(data_seconds=waited)
    empty = pd.DataFrame(columns=[*RUN, "phase", "interval", "steps", "rank", "seconds"])
    (row,) = why_table(scaling_table(runs), runs, empty, []).to_dict("records")
    assert row["blamed"] == ["extra_data"]
    assert row["rest_seconds_low"] < 3e-3 < row["rest_seconds_high"]
    assert row["rest_seconds"] == pytest.approx(3e-3, rel=0.1)
    assert row["rest_seconds_high"] - row["rest_seconds_low"] < 0.2e-3
