"""`moorage adopt`: its options. The work is in `adopting.py`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from webhook.cli import common


class Form(StrEnum):
    """The values of `-o`."""

    TABLE = "table"
    JSON = "json"


class Choose(StrEnum):
    """The values of `--choose`."""

    NONE = "none"
    NEWEST = "newest"


def adopt(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="One namespace; without it all.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write what is shown.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again and write, as the one of many that holds the Lease.")
    ] = False,
    choose: Annotated[
        Choose, typer.Option(help="Who decides where Pods of one revision disagree: nobody, or the newest ready one.")
    ] = Choose.NONE,
    interval: Annotated[
        str, typer.Option(metavar="DURATION", help="With --watch: how long to wait between two looks.")
    ] = "1m",
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TABLE,
    kubeconfig: common.Kubeconfig = None,
    context: common.Context = None,
    seal_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys that the webhook's replicas share, one a line.")
    ] = None,
    ops_listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="With --watch: health and metrics, over HTTP.")
    ] = "0.0.0.0:8080",
    lease_namespace: Annotated[
        str, typer.Option(metavar="NAME", help="With --watch: where the Lease is.")
    ] = "moorage-system",
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    docker_config: common.DockerConfig = None,
) -> None:
    """Pin rollouts that have no pin yet.

    Without --yes nothing is written. Digests come from what Moorage wrote on their Pods, else from the Pods' images, else
    from what they run if the tag names it still.

    Without --seal-key-file pins that are there stay as they are, and new ones are hints: the registry has to confirm them.
    """
    from webhook.cli.adopting import Wanted, run

    wanted = Wanted(
        namespace=namespace,
        yes=yes,
        watch=watch,
        newest=choose is Choose.NEWEST,
        interval=common.duration("--interval", interval),
        as_json=form is Form.JSON,
        kubeconfig=kubeconfig,
        context=context,
        seal_key_file=seal_key_file,
        ops_listen=ops_listen,
        lease_namespace=lease_namespace,
    )
    raise typer.Exit(run(wanted, common.choices(config, rule, variable, "10s", docker_config)))
