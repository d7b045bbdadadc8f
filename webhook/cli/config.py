"""`moorage config`: is it right, what does it come to, what may stand in it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from webhook.cli import common
from webhook.cli.registering import FailurePolicy, Wanted, document

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


@app.command()
def registration(
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.YAML,
    failure_policy: Annotated[
        FailurePolicy, typer.Option(help="What happens to objects while Moorage cannot be asked.")
    ] = FailurePolicy.IGNORE,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="Where Moorage's Service is; left out itself.")
    ] = "moorage-system",
    service: Annotated[str, typer.Option(metavar="NAME", help="The Service.")] = "moorage",
    url: Annotated[str, typer.Option(metavar="URL", help="A https:// URL instead of a Service.")] = "",
    path: Annotated[
        str,
        typer.Option(metavar="PATH", help="The path of admission; empty leaves it to `serve --tls-secret`."),
    ] = "/mutate",
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="FILE", help="Whom the API server shall trust, PEM.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A namespace to leave out as well. Repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A namespace to serve, and no other. Repeatable.")
    ] = None,
    opt_in: Annotated[
        bool, typer.Option("--opt-in", help="Serve only namespaces with the label moorage.dev/enabled=true.")
    ] = False,
    conditions: Annotated[
        bool,
        typer.Option(
            "--conditions/--no-conditions",
            help="Conditions made from the hosts of rules and targets; without, all Pods come.",
        ),
    ] = True,
    managed: Annotated[
        bool,
        typer.Option(
            "--managed",
            help="Let the server keep the conditions right; with --no-conditions nobody who applies this undoes that.",
        ),
    ] = False,
) -> None:
    """Print the registration at the API server.

    It asks about Pods, and about revisions, whose images these rules and targets are about.
    """
    chosen = common.choices(config, rule, variable, "4s", None)
    wanted = Wanted(
        failure_policy,
        url,
        namespace,
        service,
        path,
        ca_file,
        tuple(exclude or ()),
        tuple(only or ()),
        opt_in,
        conditions,
        managed,
    )
    made = document(chosen, wanted)
    if form is Form.JSON:
        common.put(common.pretty(made))
    else:
        from webhook.document import written

        common.put(written(made))
