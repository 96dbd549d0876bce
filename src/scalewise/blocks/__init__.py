"""Images of any size, block by block, with bounded memory (`docs/large.md`)."""

from scalewise.blocks.cluster import team_of
from scalewise.blocks.denoising import denoise
from scalewise.blocks.drawing import synthesize
from scalewise.blocks.enlarging import upscale
from scalewise.blocks.holes import inpaint
from scalewise.blocks.memory import parse_memory
from scalewise.blocks.steps import check_model
from scalewise.blocks.work import Limits, Outcome

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
