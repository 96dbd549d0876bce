"""Multi-scale local conditional probability models of images.

`load` gives a prior; `MultiScalePrior` denoises, upscales, samples and scores; `restore` does so to
pictures, as files hold them, arrays and images of Pillow; `train` makes a prior from images;
`transforms` has steps of data pipelines, `PretrainedPrior` goes to the Hugging Face hub. Everything
else is in the modules, which are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalewise import restore, train, transforms
    from scalewise.errors import ScalewiseError, UsageError
    from scalewise.hub import PretrainedPrior
    from scalewise.images import Picture, read_image, write_image
    from scalewise.noise_model import NoiseModel
    from scalewise.prior import MultiScalePrior
    from scalewise.store import load, packaged, save

__version__ = "0.2.0"

__all__ = [
    "MultiScalePrior",
    "NoiseModel",
    "Picture",
    "PretrainedPrior",
    "ScalewiseError",
    "UsageError",
    "load",
    "packaged",
    "read_image",
    "restore",
    "save",
    "train",
    "transforms",
    "write_image",
]

_SUBMODULES = ("restore", "train", "transforms")

_MODULES = {
    "MultiScalePrior": "prior",
    "NoiseModel": "noise_model",
    "Picture": "images",
    "PretrainedPrior": "hub",
    "ScalewiseError": "errors",
    "UsageError": "errors",
    "load": "store",
    "packaged": "store",
    "read_image": "images",
    "save": "store",
    "write_image": "images",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `scalewise --help` answers at once."""
    if name in _SUBMODULES:
        return import_module(f"scalewise.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'scalewise' has no attribute {name!r}")
    return getattr(import_module(f"scalewise.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Names that completion shows."""
    return sorted([*globals(), *__all__])
