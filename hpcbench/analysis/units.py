"""What rates are of: samples, or what programs of one's own were asked to count."""

import pandas as pd

from hpcbench.programs.config import COUNTED_IN


def counted(table: pd.DataFrame) -> str:
    """What is counted in the rows of a table with a column ``dataset``: "tokens"; of several, all
    of them."""
    found = {of_data(str(dataset)) for dataset in table["dataset"].unique()}
    return " or ".join(sorted(found))


def of_data(dataset: str) -> str:
    """What is counted of a ``dataset``."""
    return dataset.removeprefix(COUNTED_IN) if dataset.startswith(COUNTED_IN) else "samples"
