"""Which measurement this is, to be cited."""

import hashlib
from typing import Any

import pandas as pd

from hpcbench import __version__
from hpcbench.records.identity import RUN


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
