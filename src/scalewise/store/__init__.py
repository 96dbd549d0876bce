"""Model folders: `config.json`, `model.safetensors` and a model card; nothing executable."""

from scalewise.store.card import card, summary
from scalewise.store.config import FORMAT_VERSION, NETWORKS, ModelConfig, NetworkConfig
from scalewise.store.folders import (
    check_folder,
    fingerprint,
    load,
    read_config,
    save,
    store_calibration,
)
from scalewise.store.names import FILES, PACKAGED, TRAINING, packaged, resolve

__all__ = [
    "FILES",
    "FORMAT_VERSION",
    "NETWORKS",
    "PACKAGED",
    "TRAINING",
    "ModelConfig",
    "NetworkConfig",
    "card",
    "check_folder",
    "fingerprint",
    "load",
    "packaged",
    "read_config",
    "resolve",
    "save",
    "store_calibration",
    "summary",
]
