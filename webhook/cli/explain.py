"""`moorage explain`: its options. The work is in `explaining.py`."""

from enum import StrEnum
from typing import Annotated

import typer

from webhook.cli import common


class Form(StrEnum):
    """The values of `-o`."""

    TEXT = "text"
    JSON = "json"


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image as a Pod would name it.")],
    container: Annotated[str, typer.Option("--container", "-c", metavar="NAME", help="Name of the container.")] = "app",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label of the Pod. Repeatable.")
    ] = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TEXT,
    namespace: common.Namespace = "default",
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    offline: common.Offline = False,
    timeout: common.Timeout = "4s",
    docker_config: common.DockerConfig = None,
    verbose: common.Verbose = False,
) -> None:
    """Show why an image goes where it goes.

    Every rule that is tried and why, the digest and where it came from, what was sent, and every target.
    """
    from webhook.cli.explaining import Wanted, run

    labels = common.pairs("--label", label)
    wanted = Wanted(
        common.printable(image),
        container,
        labels,
        namespace,
        offline=offline,
        verbose=verbose,
        as_json=form is Form.JSON,
    )
    raise typer.Exit(run(wanted, common.choices(config, rule, variable, timeout, docker_config)))
