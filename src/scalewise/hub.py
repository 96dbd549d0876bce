"""Models to and from the Hugging Face hub, by the mixin of `huggingface_hub`.

    prior = PretrainedPrior.from_pretrained("owner/name")
    prior.save_pretrained("folder")
    prior.push_to_hub("owner/name")

`scalewise.load` takes names of the hub too; this adds what libraries of the hub expect of a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from scalewise import store
from scalewise.prior import MultiScalePrior
from scalewise.store import ModelConfig


class PretrainedPrior(
    MultiScalePrior,
    ModelHubMixin,
    library_name="scalewise",
    pipeline_tag="image-to-image",
):
    """A prior with `from_pretrained`, `save_pretrained` and `push_to_hub`.

    Args:
        prior: whose networks it has; not copied.
        facts: what its card tells.

    Examples:
        >>> import tempfile
        >>> prior = scalewise.PretrainedPrior.from_pretrained("photos")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     prior.save_pretrained(f"{folder}/mine")
        ...     same = scalewise.PretrainedPrior.from_pretrained(f"{folder}/mine")
    """

    def __init__(self, prior: MultiScalePrior, facts: ModelConfig) -> None:
        super().__init__(
            prior.low,
            prior.conditionals,
            prior.wavelet,
            prior.estimator,
            prior.calibration,
            prior.noise_floor,
            prior.upscaling,
            prior.denoises_only,
            prior.gray,
        )
        self.facts = facts
        self.train(prior.training)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card of the model folder, whose front matter the hub reads."""
        return ModelCard(store.card(self.facts))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> str | None:
        """Write `config.json`, `model.safetensors` and `README.md`, over a model that is there.

        Args:
            save_directory: the folder.
            repo_id: name on the hub; that of the folder by default.
            push_to_hub: whether to send it there as well.
            options: of `push_to_hub`.

        Returns:
            The address of what was sent, if it was.

        Examples:
            >>> import os, tempfile
            >>> prior = scalewise.PretrainedPrior.from_pretrained("photos")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     prior.save_pretrained(f"{folder}/mine")
            ...     sorted(os.listdir(f"{folder}/mine"))
            ['README.md', 'config.json', 'model.safetensors']
        """
        Path(save_directory).parent.mkdir(parents=True, exist_ok=True)
        store.save(self, save_directory, force=True, **self.facts.told)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(save_directory).name, **options)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **options: Any
    ) -> PretrainedPrior:
        """Load a model.

        Args:
            pretrained_model_name_or_path: a model folder, the name of a packaged model, or of one
                of the hub, `owner/name`.
            options: `device`, `precision` and `exact` as for `scalewise.load`; `revision`, `token`,
                `cache_dir`, `force_download`, `local_files_only` as for all models of the hub.

        Examples:
            >>> prior = scalewise.PretrainedPrior.from_pretrained("photos", device="cpu")
            >>> prior.denoise(torch.rand(1, 3, 32, 32), 0.1).shape
            torch.Size([1, 3, 32, 32])
        """
        name = pretrained_model_name_or_path
        if str(name) in store.packaged() and not Path(name).is_dir():
            name = store.resolve(name)
        return super().from_pretrained(name, **options)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        device: str = "auto",
        precision: str = "float32",
        exact: bool | None = None,
        **ignored: Any,
    ) -> PretrainedPrior:
        """Load a folder, or a model of the hub, which is downloaded once."""
        folder = model_id
        if not Path(folder).is_dir():
            folder = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=list(store.FILES),
            )
        prior = store.load(folder, device=device, precision=precision, exact=exact)
        return cls(prior, store.read_config(folder))
