"""How soon the page shows what is visible: after a slider moves, and until the whole is there.

    python -m benchmarks.page

A server in this process, a photo of 12 megapixels with white noise of 25, a stage of 950x750
pixels. Seconds from a change of strength, which cancels the work before, to the first part (which
shows all that is visible, coarsely, unless it is small), to all parts, and to the whole picture.
Medians of repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import torch
import uvicorn

from benchmarks.common import RESULTS, facts, write_json
from scalewise.data.photos import sample_photo
from scalewise.images import Picture, encode_image
from scalewise.web import Settings, application

STAGE = 950, 750
"""Width and height of what is visible, in pixels of the screen."""

VIEWS = {"fitted": 0.2375, "pixel for pixel": 1.0, "enlarged by 4": 4.0}
"""What is looked at, and pixels of the screen for each of the picture."""

SIZE = 3000, 4000


def photo() -> bytes:
    """A PNG of 12 megapixels."""
    clean = sample_photo("astronaut").repeat(1, 6, 8)[:, : SIZE[0], : SIZE[1]]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return encode_image(Picture((clean + 25 / 255 * noise).clamp(0, 1)), "photo.png")[0]


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server in a thread."""
    server = uvicorn.Server(uvicorn.Config(application(Settings()), port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True


def asked(zoom: float, strength: float) -> dict[str, Any]:
    """A request as the page makes it."""
    width, height = STAGE[0] / zoom, STAGE[1] / zoom
    left, top = (SIZE[1] - width) / 2, (SIZE[0] - height) / 2
    view = {"left": left, "top": top, "width": width, "height": height, "zoom": zoom}
    return {"kind": "denoise", "strength": strength, "view": view}


def parts_of(
    client: httpx2.Client, key: str, request: dict[str, Any]
) -> Iterator[tuple[float, Any]]:
    """Seconds, and messages, of a request."""
    start = time.perf_counter()
    with client.stream("POST", f"/pictures/{key}/make", json=request) as answer:
        for line in answer.iter_lines():
            yield time.perf_counter() - start, json.loads(line)


def measure(
    client: httpx2.Client, key: str, zoom: float, repeats: int, whole: bool
) -> dict[str, Any]:
    """Medians of one view."""
    first, visible, done = [], [], []
    for repeat in range(repeats):
        shown = []
        for seconds, message in parts_of(client, key, asked(zoom, 0.5 + 0.05 * repeat)):
            if "patch" in message:
                shown.append(seconds)
            elif "progress" in message and not whole:
                break
            elif "done" in message:
                done.append(seconds)
        first.append(shown[0])
        visible.append(shown[-1])
        time.sleep(0.5)
    found = {"first": statistics.median(first), "visible": statistics.median(visible)}
    return found | ({"whole": statistics.median(done)} if done else {})


def main() -> None:
    """Measure, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "page.json")
    options = parser.parse_args()
    with serving() as address, httpx2.Client(base_url=address, timeout=600) as client:
        start = time.perf_counter()
        key = client.post("/pictures?name=photo.png", content=photo()).json()["key"]
        opened = time.perf_counter() - start
        measure(client, key, 1.0, 1, False)  # the model is loaded, and the noise found
        rows = {
            name: measure(client, key, zoom, options.repeats, False) for name, zoom in VIEWS.items()
        }
        rows["fitted"] |= measure(client, key, VIEWS["fitted"], 1, True)
    content = {**facts(), "megapixels": 12, "stage": STAGE, "opened": opened, "seconds": rows}
    write_json(options.out, content)
    print(json.dumps(content["seconds"], indent=1))


if __name__ == "__main__":
    main()
