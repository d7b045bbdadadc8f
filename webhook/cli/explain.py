"""`moorage explain`: its options. The work is in `explaining.py`."""

from enum import StrEnum
from typing import Annotated

import typer

from webhook.cli import common
from webhook.core.printable import printable


class Form(StrEnum):
    """The values of `-o`."""

    TEXT = "text"
    JSON = "json"


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image as a Pod would name it.")],
    owner: Annotated[
        str,
        typer.Option(metavar="KIND/NAME", help="A live workload: as an image of its next Pods, with pin and siblings."),
    ] = "",
    container: Annotated[
        str,
        typer.Option(
            "--container", "-c", metavar="NAME", help="Name of the container (else that of the workload, or app)."
        ),
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label of the Pod. Repeatable.")
    ] = None,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TEXT,
    namespace: common.HomeNamespace = None,
    from_cluster: common.FromCluster = False,
    kubeconfig: common.Kubeconfig = None,
    context: common.Context = None,
    seal_key_file: common.SealKeyFile = None,
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    offline: common.Offline = False,
    timeout: common.Timeout = "4s",
    docker_config: common.DockerConfig = None,
    verbose: common.Verbose = False,
) -> None:
    """Show why an image goes where it goes.

    Every rule that is tried and why, the digest and where it came from, what was sent, and every target. With --owner
    also how the image stands in that rollout, and what undo would do.
    """
    from webhook.cli.explaining import Wanted, run

    labels = common.pairs("--label", label)
    wanted = Wanted(
        printable(image),
        container,
        labels,
        namespace,
        owner,
        offline=offline,
        verbose=verbose,
        as_json=form is Form.JSON,
        from_cluster=from_cluster,
        place=common.Place(kubeconfig, context, seal_key_file),
    )
    raise typer.Exit(run(wanted, common.choices(config, rule, variable, timeout, docker_config)))
