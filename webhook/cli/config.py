"""`moorage config`: is it right, what does it come to, what may stand in it."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from webhook.cli import common

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check, print and describe the configuration.")


class Form(StrEnum):
    """The values of `-o`."""

    YAML = "yaml"
    JSON = "json"


@app.command()
def validate(
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
) -> None:
    """Tell every mistake with its place; end with 2 when there is one."""
    loaded = common.load(common.choices(config, rule, variable, "4s", None))
    common.say(f"{loaded.path or '--rule'}: {len(loaded.rules.rules)} rules, fine")


@app.command()
def schema() -> None:
    """Print the JSON Schema, for editors."""
    from webhook.schema import schema_text

    sys.stdout.write(schema_text())


@app.command()
def show(
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.YAML,
) -> None:
    """Print the configuration in force, defaults and variables filled in."""
    import msgspec

    from webhook.show import effective, shown

    loaded = common.load(common.choices(config, rule, variable, "4s", None))
    if form is Form.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(effective(loaded)), indent=2).decode() + "\n")
    else:
        sys.stdout.write(shown(loaded))
