"""Images of any size, block by block, with bounded memory (`docs/large.md`)."""

from scalewise.blocks.cluster import team_of
from scalewise.blocks.holes import inpaint
from scalewise.blocks.memory import parse_memory
from scalewise.blocks.work import Limits, Outcome, check_model, denoise, synthesize, upscale

__all__ = [
    "Limits",
    "Outcome",
    "check_model",
    "denoise",
    "inpaint",
    "parse_memory",
    "synthesize",
    "team_of",
    "upscale",
]
