"""`moorage resolve`: its options. The work is in `resolving.py`."""

from enum import StrEnum
from typing import Annotated

import typer

from webhook.cli import common
from webhook.core.printable import printable


class Form(StrEnum):
    """The values of `-o`."""

    TABLE = "table"
    JSON = "json"


def resolve(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Names to resolve.")],
    platforms: Annotated[bool, typer.Option("--platforms", help="Tell the platforms too (one more request).")] = False,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TABLE,
    namespace: common.Namespace = "default",
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    offline: common.Offline = False,
    timeout: common.Timeout = "4s",
    docker_config: common.DockerConfig = None,
    verbose: common.Verbose = False,
) -> None:
    """Show the digests that images stand for now.

    Each is asked for at its own registry. One that fails does not hide the others.
    """
    from webhook.cli.resolving import Wanted, run

    wanted = Wanted(
        tuple(map(printable, images)),
        namespace,
        platforms=platforms,
        offline=offline,
        verbose=verbose,
        as_json=form is Form.JSON,
    )
    raise typer.Exit(run(wanted, common.choices(config, rule, variable, timeout, docker_config)))
