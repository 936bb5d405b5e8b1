"""Made-up runs as the analysis takes them: a table of rates that a test knows."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from hpcbench.analysis.answers import answer
from hpcbench.analysis.load import run_table, with_names
from hpcbench.analysis.reading import read_folder
from hpcbench.analysis.report.contents import build
from hpcbench.analysis.report.formats import AS
from hpcbench.analysis.scaling import scaling_table
from support import IDENTITY


def rows(devices, rates, **changes):
    """One run for each rate, of one interval of one second."""
    base = asdict(IDENTITY) | {"devices": devices, "global_batch": 128 * devices} | changes
    return [
        base
        | {
            "run_id": f"{base['strategy']}-{base['precision']}-{devices}-{repeat}",
            "repeat": repeat,
            "phase": "train",
            "samples": rate,
            "seconds": 1.0,
            "steps": 1,
            "mean_rank_seconds": 1.0,
        }
        for repeat, rate in enumerate(rates)
    ]


def runs_of(*parts):
    """The run table of all ``parts``, as it is after run.json was read."""
    table = run_table(pd.DataFrame([row for part in parts for row in part]))
    return with_names(
        table.assign(
            software="",
            data_seconds=np.nan,
            options="",
            remarks=[()] * len(table),
            cores_taken_share=np.nan,
            load_average=0.0,
            cores_of_machine=8,
            whole_nodes=None,
            steady=None,
        )
    )


def points_of(*parts):
    return scaling_table(runs_of(*parts))


def law_runs(rate_of, counts, noise=0.0, seed=0, repeats=6, devices_a_node=1, **changes):
    """Runs whose rates are those of a law, times lognormal noise."""
    generator = np.random.default_rng(seed)
    return runs_of(
        *(
            rows(
                n,
                rate_of(n) * np.exp(noise * generator.standard_normal(repeats)),
                nodes=-(-n // devices_a_node),
                **changes,
            )
            for n in counts
        )
    )


def report_as(kind, folder):
    """The text of a report of ``folder``, without its figures."""
    return AS[kind](build(answer(read_folder(folder), (), None), None))
