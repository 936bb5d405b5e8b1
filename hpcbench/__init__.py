"""hpcbench: how does training scale on this machine, and where did the rest go?"""

__version__ = "0.1.0"
