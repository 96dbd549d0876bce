"""How fast everything is, beside the published networks and the machine's own limits.

Every figure is a ratio within one run, of medians of works that took turns.
"""

from scalewise.speed.report import HEAD, rows
from scalewise.speed.suite import FULL, QUICK, Scope, part_names, run

__all__ = ["FULL", "HEAD", "QUICK", "Scope", "part_names", "rows", "run"]
