"""Whether the system killed processes because memory ran out."""

import re
from pathlib import Path


def oom_kills() -> int:
    """How many it has killed so far on this machine, whoever's they were: of the machine's memory,
    or of what a control group of them may have. 0 where it does not count."""
    try:
        counted = Path("/proc/vmstat").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)", counted, re.MULTILINE)
    return int(found[1]) if found else 0
