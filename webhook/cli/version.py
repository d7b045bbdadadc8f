"""`moorage version`."""

from enum import StrEnum
from typing import Annotated

import typer

from webhook import __version__
from webhook.cli import common


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
    common.put(json.dumps(told) + "\n" if form is Form.JSON else f"moorage {__version__}\n")
