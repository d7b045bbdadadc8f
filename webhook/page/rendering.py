"""From answers to HTML. Everything that is put into a template is escaped, and made printable before."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from webhook import __version__
from webhook.core.printable import printable
from webhook.page.answers import Outcome

FOLDER: Final = Path(__file__).parent
NAVIGATION: Final = (
    ("/", "Status"),
    ("/rules", "Rules"),
    ("/registries", "Registries"),
    ("/targets", "Targets"),
    ("/decisions", "Decisions"),
    ("/api/docs", "API"),
)
"""Where each page is, and what it is called."""
AT_ONCE: Final = 64
"""Pieces of a page that are made before others get their turn: well below a millisecond."""


class Rendering:
    """The templates, read and compiled when the first one is made: nobody who asks waits for that."""

    def __init__(self) -> None:
        self._environment = _environment()

    async def render(self, template: str, **values: Any) -> str:
        """A whole page, put together so that reviews are answered in between."""
        pieces: list[str] = []
        for piece in self._environment.get_template(template).generate(values):
            pieces.append(piece)
            if len(pieces) % AT_ONCE == 0:
                await asyncio.sleep(0)
        return "".join(pieces)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"navigation": NAVIGATION, "outcomes": ("", *get_args(Outcome)), "version": __version__}
    for name in made.list_templates():
        made.get_template(name)
    return made


def _shown(value: Any) -> Any:
    # What is markup already (the result of a macro) was made of parts that came through here.
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def file(name: str) -> bytes:
    """A file that pages refer to."""
    return (FOLDER / "static" / name).read_bytes()
