"""Counts the steps of a training program from within, without a change to it.

It needs nothing but Python 3.9 or later, whose standard library is all that it knows, and does
nothing until the program imports a framework and takes a step of training. A process that does
writes a file of its own into the folder HPCBENCH_PROBE, a JSON object a line, for
``hpcbench.programs.probe_lines``. A framework's part is imported when the program imports that.

Here stands what ``hpcbench.own_loop`` asks for.
"""

from hpcbench_probe.batches import first_array
from hpcbench_probe.recording import recorder

__all__ = ["first_array", "recorder"]
