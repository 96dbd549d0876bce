"""The paper's experiments, and ours, as one report that is made from stored results."""

from scalewise.reproduce.experiment import Experiment, Figure, Result, Table
from scalewise.reproduce.run import reproduce

__all__ = ["Experiment", "Figure", "Result", "Table", "reproduce"]
