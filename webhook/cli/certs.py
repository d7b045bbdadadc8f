"""`moorage certs`: certificates and keys made, shown and checked. The work is in `certifying.py`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from webhook.cli import common

app = typer.Typer(rich_markup_mode=None, help="Make, show, check and rotate certificates, seal keys and path secrets.")


class Manifest(StrEnum):
    """The values of `-o` of `make`."""

    YAML = "yaml"
    JSON = "json"


class Form(StrEnum):
    """The values of `-o`."""

    TABLE = "table"
    JSON = "json"


class What(StrEnum):
    """What can be rotated: the values of `core.keeping.WISHES`."""

    LEAF = "leaf"
    ALL = "all"
    DROP = "drop"


Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Where Moorage is installed.")]
Name = Annotated[str, typer.Option("--secret", metavar="NAME", help="The Secret that holds them.")]
Folder = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="Files of a folder, named as the Secret's entries, instead.")
]


@app.callback(invoke_without_command=True)
def which(context: typer.Context) -> None:
    """Without a command, tell which there are."""
    if context.invoked_subcommand is None:
        common.put(context.get_help() + "\n")


@app.command()
def make(
    namespace: Namespace = "moorage-system",
    name: Name = "moorage-certs",
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Write files here instead of printing a Secret.")
    ] = None,
    managed: Annotated[
        bool, typer.Option("--managed", help="Label the Secret so that Moorage renews what is in it.")
    ] = False,
    days: Annotated[int, typer.Option(metavar="DAYS", help="How long the certificate lives.", min=1, max=365)] = 30,
    form: Annotated[Manifest, typer.Option("--output", "-o", help="How to print the Secret.")] = Manifest.YAML,
) -> None:
    """Make an authority, a certificate, a seal key and a path secret.

    They are printed as a Secret, keys and all: mind where it goes.
    """
    from webhook.cli.certifying import make as work

    work(namespace, name, folder, managed=managed, days=days, as_json=form is Manifest.JSON)


@app.command()
def show(
    namespace: Namespace = "moorage-system",
    name: Name = "moorage-certs",
    folder: Folder = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TABLE,
    kubeconfig: common.Kubeconfig = None,
    context: common.Context = None,
) -> None:
    """Show what stands in the Secret, and what comes next. Keys are never shown."""
    from webhook.cli.certifying import Place
    from webhook.cli.certifying import show as work

    work(Place(namespace, name, folder, kubeconfig, context), as_json=form is Form.JSON)


@app.command()
def check(
    namespace: Namespace = "moorage-system",
    name: Name = "moorage-certs",
    folder: Folder = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TABLE,
    kubeconfig: common.Kubeconfig = None,
    context: common.Context = None,
) -> None:
    """Check that all of it fits: the pair, its names and dates, who signed it, and whom the registration trusts.

    Ends with 2 when something does not fit, with 3 when the cluster could not be asked.
    """
    from webhook.cli.certifying import Place
    from webhook.cli.certifying import check as work

    raise typer.Exit(work(Place(namespace, name, folder, kubeconfig, context), as_json=form is Form.JSON))


@app.command()
def rotate(
    what: Annotated[What, typer.Argument(help="The certificate; all with authority and keys; or the end of the old.")],
    namespace: Namespace = "moorage-system",
    name: Name = "moorage-certs",
    kubeconfig: common.Kubeconfig = None,
    context: common.Context = None,
) -> None:
    """Ask Moorage for another certificate (leaf), another authority and keys too (all), or to trust the old ones no more
    (drop)."""
    from webhook.cli.certifying import Place
    from webhook.cli.certifying import rotate as work

    work(Place(namespace, name, None, kubeconfig, context), what.value)
