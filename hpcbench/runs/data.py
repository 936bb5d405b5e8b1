"""The samples that a run trains on."""

from dataclasses import replace

import psutil

from hpcbench.datasets import Arrays, synthetic
from hpcbench.datasets.lazy_array import LazyArray
from hpcbench.errors import ConfigError, DataError, EnvironmentLacks
from hpcbench.runs.resolve import ResolvedRun


def load_data(resolved: ResolvedRun, seed: int) -> Arrays:
    """The run's arrays: read from the source's files, or made up in their shape.

    Raises DataError for fewer samples than were announced, ConfigError for more test samples than
    there are, EnvironmentLacks where they do not fit into memory.
    """
    source, samples = resolved.source, resolved.schedule.samples
    made_up = resolved.config.input == "synthetic"
    if source.spec.seeded:
        source = replace(source, spec=source.spec.seeded(source.spec, seed))
    data = synthetic.arrays(source.spec, seed) if made_up else source.read()
    if samples > len(data.train_targets):
        raise DataError(
            f"{source.files[0]} holds {len(data.train_targets)} training samples where "
            f"{samples} are expected"
        )
    tested = resolved.config.test_samples
    if tested and tested > len(data.test_targets):
        raise ConfigError(f"--test-samples {tested}: there are only {len(data.test_targets)}")
    data = data.first(samples, tested)
    lazy = [p for p in (data.train_inputs, data.train_targets) if isinstance(p, LazyArray)]
    if lazy and resolved.config.input == "resident":
        needed, free = sum(part.nbytes for part in lazy), psutil.virtual_memory().available
        if needed > free:
            raise EnvironmentLacks(
                f"{source.spec.name} takes {needed / 2**30:,.1f} GiB in memory and "
                f"{free / 2**30:,.1f} GiB are free; choose --input stream"
            )
    return data
