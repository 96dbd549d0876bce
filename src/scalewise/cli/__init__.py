"""The command line: parse, call, show.

Modules here import nothing heavy at their top (no PyTorch, NumPy or Pillow), so that `--help`
answers at once; each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from scalewise.cli import signals


def main() -> None:
    """Run the program `scalewise` on the arguments of this process, and leave with its code."""
    try:
        signals.catch()
        _run()
    except signals.Ended as ended:
        _leave(ended.sentence, ended.code)
    except OSError as error:  # of printing help
        _leave(f"Error: cannot print: {error.strerror or error}", 1)
    finally:
        signals.leave_at_once()


def _run() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:  # file names need not be printable
            reconfigure(errors="backslashreplace")
    from scalewise.cli.commands import app
    from scalewise.cli.loudness import tune_libraries

    # what no-color.org asks for; Rich heeds it by itself
    color = False if os.environ.get("NO_COLOR") else None
    app(prog_name="scalewise", color=color, obj=tune_libraries)


def _leave(sentence: str, code: int) -> None:
    """End with a sentence, if there is somewhere to print it."""
    with suppress(OSError, AttributeError, ValueError):
        sys.stderr.write(sentence + "\n")
    with suppress(OSError, AttributeError, ValueError):
        sys.stdout.close()
    raise SystemExit(code)
