"""From images to a model folder: what the command line does, for any program."""

from scalewise.train.assembling import assemble
from scalewise.train.model import train_model
from scalewise.train.noisy import Photons
from scalewise.train.writer import Progress

__all__ = ["Photons", "Progress", "assemble", "train_model"]
