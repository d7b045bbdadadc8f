"""`moorage doctor`: its options. The work is in `doctoring.py`."""

from enum import StrEnum
from typing import Annotated

import typer

from webhook.cli import common


class Form(StrEnum):
    """The values of `-o`."""

    TEXT = "text"
    JSON = "json"


def doctor(
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TEXT,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Where a Pod is created in a dry run (else in one that Moorage is asked about).",
        ),
    ] = "",
    kubeconfig: common.Kubeconfig = None,
    context: common.Context = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="The longest that one check may take, as 10s.")
    ] = "10s",
    docker_config: common.DockerConfig = None,
) -> None:
    """Examine the install in a cluster.

    Every line says what was looked at and how it is: ok, warning or error, and then what to do. Nothing is changed.
    Ends with 3 when there is an error.
    """
    from webhook.cli.doctoring import Wanted, run

    wanted = Wanted(namespace, as_json=form is Form.JSON, place=common.Place(kubeconfig, context, None))
    raise typer.Exit(run(wanted, common.choices(None, None, None, timeout, docker_config)))
