"""`moorage version`."""

import platform
import sys
from typing import Annotated

import msgspec
import typer

from webhook import __version__


def version(
    form: Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="How to print it.")] = "text",
) -> None:
    """Print the version."""
    told = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n" if form == "json" else f"moorage {__version__}\n")
