"""Whether part of the work may be given to a fork of this process."""

import sys
import threading

# Each starts threads of its own that a fork lacks, with their locks held for ever.
FRAMEWORKS = ("jax", "tensorflow", "torch")


def may_fork() -> bool:
    """False in a notebook, or beside a framework: a fork has none of its parent's threads, and may
    wait for ever for what one of them held."""
    return threading.active_count() == 1 and not any(name in sys.modules for name in FRAMEWORKS)
