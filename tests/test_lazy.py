"""Arrays of Dask: lazy, and what the whole is, whatever their chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from block_tools import image, tiny
from torch import Tensor

from scalewise.blocks.lazy import _Chunks
from scalewise.errors import UsageError
from scalewise.exact import gaussian_prior
from scalewise.noise_model import NoiseModel
from scalewise.places import Places
from scalewise.windows import Window

da = pytest.importorskip("dask.array")

CURVE = NoiseModel(scales=((0.05,), (0.09,)), curve=((0.0, 2.0), (1.0, 0.5)))
UNEVEN = CURVE.model_copy(update={"places": Places(factors=((1.0, 4.0, 9.0), (0.25, 1.0, 16.0)))})

CHUNKS: dict[str, Any] = {
    "one": (1, 3, 70, 93),
    "squares": (1, 3, 32, 32),
    "of a channel": (1, 1, 40, 24),
    "uneven": ((1,), (2, 1), (5, 40, 25), (60, 33)),
}


def seen(count: int = 1, height: int = 70, width: int = 93) -> Tensor:
    return torch.stack([image(height, width, seed=number) for number in range(count)])


def computed(array: Any) -> Tensor:
    return torch.from_numpy(array.compute(scheduler="synchronous"))


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
@pytest.mark.parametrize("noise", [0.07, CURVE, UNEVEN, NoiseModel(scales=((0.05,), (0.09,)))])
def test_denoised(chunks: Any, noise: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalewise.blocks.lazy.SIDE", 32)
    prior, noisy = tiny(), seen()
    found = prior.denoise(da.from_array(noisy.numpy(), chunks=chunks), noise)
    assert isinstance(found, da.Array)
    assert found.shape == noisy.shape
    assert found.dtype == np.float32
    torch.testing.assert_close(computed(found), prior.denoise(noisy, noise), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.1, None])
def test_each_of_several_images_is_denoised(sigma: float | None) -> None:
    """With noise of its own, where it is estimated."""
    prior, noisy = tiny(), seen(2)
    noisy[1] += 0.1 * torch.randn(noisy[1].shape, generator=torch.Generator().manual_seed(3))
    found = prior.denoise(da.from_array(noisy.numpy(), chunks=(1, 3, 32, 32)), sigma)
    torch.testing.assert_close(computed(found), prior.denoise(noisy, sigma), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS.keys())
@pytest.mark.parametrize("factor", [2, 4])
def test_enlarged(chunks: Any, factor: int) -> None:
    prior, small = tiny(), seen()
    array = da.from_array(small.numpy(), chunks=chunks)
    mean, whole = computed(prior.upscale_mean(array, factor)), prior.upscale_mean(small, factor)
    torch.testing.assert_close(mean, whole, atol=1e-5, rtol=0)
    if factor == 2:
        sharp = computed(prior.upscale(array, factor, samples=2, seed=4))
        drawn = prior.upscale(small, factor, samples=2, seed=4)
        torch.testing.assert_close(sharp, drawn, atol=1e-5, rtol=0)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    def read(block_id: tuple[int, ...]) -> Any:
        (tmp_path / "-".join(map(str, block_id))).touch()
        return np.full((1, 3, 32, 32), 0.5, np.float32)

    chunks = ((1,), (3,), (32,) * 8, (32,) * 8)
    array = da.map_blocks(read, chunks=chunks, dtype=np.float32, meta=np.empty((0,) * 4))
    large: Any = tiny().upscale_mean(array, 2)
    assert not list(tmp_path.iterdir())
    assert computed(large[..., :64, :64]).shape == (1, 3, 64, 64)
    assert 1 <= len(list(tmp_path.iterdir())) <= 9  # of 64: what the corner depends on


def test_blocks_are_given_the_chunks_that_they_meet() -> None:
    array = da.from_array(np.arange(100.0).reshape(1, 1, 10, 10), chunks=(1, 1, 4, 3))
    held, window = _Chunks(array).around(Window(3, 8, 3, 7))
    assert window == Window(0, 8, 3, 9)
    values = np.block([[chunk.compute() for chunk in row] for row in held])
    assert np.array_equal(values[0, 0], np.arange(100.0).reshape(10, 10)[0:8, 3:9])


def test_what_is_none() -> None:
    array = da.zeros((3, 32, 32), chunks=16)
    with pytest.raises(UsageError, match=r"must have shape \(N, 3, H, W\)"):
        tiny().denoise(array, 0.1)
    wide = gaussian_prior(torch.full((8, 8), 0.01), levels=1)
    with pytest.raises(UsageError, match="sees all of an image"):
        wide.denoise(da.zeros((1, 1, 32, 32)), 0.1)
