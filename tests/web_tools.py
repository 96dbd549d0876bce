"""What the tests of the page share: pictures, and a server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import uvicorn

from scalewise.images import Picture, encode_image
from scalewise.web import Settings, application


def picture_of(size: tuple[int, int] = (40, 56), channels: int = 3, seed: int = 0) -> Picture:
    """Smooth colours with noise of 25 in 255."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(*(torch.linspace(0, 3, side) for side in size), indexing="ij")
    clean = 0.5 + 0.3 * torch.stack([(rows + k).sin() * columns.cos() for k in range(channels)])
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=generator)
    return Picture((noisy.clamp(0, 1) * 255).round() / 255)


def png_of(picture: Picture) -> bytes:
    return encode_image(picture, "a.png")[0]


@contextmanager
def serving(options: Settings) -> Iterator[str]:
    """A real server in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(application(options), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
