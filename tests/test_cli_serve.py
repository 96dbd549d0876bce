"""`scalewise serve`: what it says, where it listens, and what it refuses."""

import json
import re
import socket
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from scalewise.cli.commands import app


def refused(*arguments: str) -> str:
    """What the command says when it fails; it must not start."""
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code in (1, 2), result.output
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--models", "nothing-of-that-name"], "no model is called 'nothing-of-that-name'"),
        (["--models", " , "], "--models must name at least one model"),
        (["--device", "abacus"], "device must be auto, cpu, cuda or mps"),
        (["--host", "256.1.2.3", "--port", "0"], "cannot listen at 256.1.2.3"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot listen at 192.0.2.1"),
        (["--max-megapixels", "nan"], "--max-megapixels"),
        (["--port", "70000"], "65535"),
    ],
)
def test_a_sentence(arguments: list[str], sentence: str) -> None:
    assert sentence in refused(*arguments)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}: Address already in use" in refused("--port", str(port))


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_listens_where_it_says(host: str) -> None:
    command = [sys.executable, "-m", "scalewise", "serve", "--port", "0", "--host", host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://[^/]+:(\d+)/(\?token=[\w-]{20,})?", line)
            assert found, line
            assert bool(found[2]) == (host == "0.0.0.0")
            home = f"http://127.0.0.1:{found[1]}"
            if found[2] is None:
                with urllib.request.urlopen(f"{home}/facts") as answer:
                    assert json.load(answer)["models"][0]["name"] == "photos"
            else:
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    urllib.request.urlopen(f"{home}/facts")
                opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
                opener.open(f"{home}/{found[2]}").close()
                with opener.open(f"{home}/facts") as answer:
                    assert json.load(answer)["version"]
        finally:
            process.terminate()
            process.wait(20)
