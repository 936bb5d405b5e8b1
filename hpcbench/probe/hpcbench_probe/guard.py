"""What goes wrong in the probe is said once, and the program goes on."""

import functools
import sys

complained = set()


def harmless(function):
    """Whatever goes wrong in it is said once, and the program goes on."""

    @functools.wraps(function)
    def guarded(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            complain(function.__qualname__, error)

    return guarded


def complain(what, error):
    if what not in complained:
        complained.add(what)
        print(f"hpcbench probe: {what}: {error!r}", file=sys.stderr)
