"""`moorage config`: is it right, what does it come to, what may stand in it."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from webhook.cli import common

app = typer.Typer(rich_markup_mode=None, help="Check, print and describe the configuration.")

SHOWN: Final = 10
"""Registries that are named; a file may have a thousand."""


class Form(StrEnum):
    """The values of `-o`."""

    YAML = "yaml"
    JSON = "json"


@app.callback(invoke_without_command=True)
def which(context: typer.Context) -> None:
    """Without a command, tell which there are."""
    if context.invoked_subcommand is None:
        common.put(context.get_help() + "\n")


@app.command()
def validate(
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
) -> None:
    """Tell every mistake with its place.

    Ends with 2 when there is one.
    """
    loaded = common.load(common.choices(config, rule, variable, "4s", None))
    count = len(loaded.rules.rules)
    hosts = sorted(loaded.registries.literal)
    named = ", ".join(hosts[:SHOWN]) + (f" and {len(hosts) - SHOWN} more" if len(hosts) > SHOWN else "")
    common.say(f"{loaded.path or '--rule'}: fine: {count} rule{'s' * (count != 1)}; registries: {named or 'none'}")


@app.command()
def schema() -> None:
    """Print the JSON Schema, for editors."""
    from webhook.schema import schema_text

    common.put(schema_text())


@app.command()
def show(
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.YAML,
) -> None:
    """Print the configuration in force.

    Defaults and variables are filled in.
    """
    from webhook.show import effective, shown

    loaded = common.load(common.choices(config, rule, variable, "4s", None))
    if form is Form.JSON:
        common.put(common.pretty(effective(loaded)))
    else:
        common.put(shown(loaded))
