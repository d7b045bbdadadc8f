"""`moorage version`."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from webhook import __version__


class Form(StrEnum):
    """The values of `-o`."""

    TEXT = "text"
    JSON = "json"


def version(
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TEXT,
) -> None:
    """Print the version."""
    import json
    import platform

    told = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
    sys.stdout.write(json.dumps(told) + "\n" if form is Form.JSON else f"moorage {__version__}\n")
