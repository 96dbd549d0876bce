"""Training: a recipe, one level's loop, and the run over all levels."""

from scalewise.training.recipe import Recipe
from scalewise.training.run import Listener, TrainingRun, saved_options, saved_recipe

__all__ = ["Listener", "Recipe", "TrainingRun", "saved_options", "saved_recipe"]
