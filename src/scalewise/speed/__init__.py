"""How fast everything is, beside the published networks and the machine's own limits.

Every figure is a ratio within one run, of medians of works that took turns.
"""

from scalewise.speed.layout import HEAD
from scalewise.speed.suite import FULL, QUICK, Scope, rows, run

__all__ = ["FULL", "HEAD", "QUICK", "Scope", "rows", "run"]
