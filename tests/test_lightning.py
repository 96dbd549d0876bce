"""The module of Lightning that docs/interop.md shows, trained for a few steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import scalewise
from scalewise.data.photos import sample_photo

lightning: Any = pytest.importorskip("lightning", reason="needs lightning: tests/plugins.sh")


@pytest.mark.filterwarnings("ignore")  # of Lightning
def test_the_module_that_is_shown(root: Path, tmp_path: Path) -> None:
    """It learns, changes one network alone, and is saved as any model."""
    text = (root / "docs" / "interop.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "shown"}
    exec(re.findall(r"## Lightning.*?```python\n(.*?)```", text, re.DOTALL)[0], names)
    torch.manual_seed(0)
    photo = sample_photo("astronaut")
    crops: Any = [photo[:, row : row + 64, 200:264].clone() for row in range(0, 448, 64)]
    module = names["Finetuned"]()
    before = {name: value.clone() for name, value in module.prior.state_dict().items()}
    trainer = lightning.Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(crops, batch_size=2))
    assert 0 < float(trainer.callback_metrics["loss"]) < 0.01
    changed = {
        name
        for name, value in module.prior.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed
    assert all(name.startswith("details.0.") for name in changed)
    scalewise.save(module.prior.eval(), tmp_path / "mine")
    noisy = torch.rand(1, 3, 64, 64)
    again = scalewise.load(tmp_path / "mine").denoise(noisy, 0.1)
    torch.testing.assert_close(again, module.prior.denoise(noisy, 0.1))
