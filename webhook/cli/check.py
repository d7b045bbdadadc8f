"""`moorage check`: its options. The work is in `checking.py`, so that `--help` need not import it."""

from pathlib import Path
from typing import Annotated

import typer

from webhook.cli import common
from webhook.cli.form import Form


def check(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|DIR|-|KIND/NAME",
            help="Manifests (YAML or JSON, - for standard input), or live objects as kubectl names them.",
        ),
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--filename", "-f", metavar="FILE", help="A manifest or folder. Repeatable.")
    ] = None,
    kustomizations: Annotated[
        list[Path] | None,
        typer.Option("--kustomize", "-k", metavar="DIR", help="A kustomization, built by kubectl. Repeatable."),
    ] = None,
    recurse: Annotated[bool, typer.Option("--recursive", "-R", help="Look into sub-folders.")] = False,
    everywhere: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Live objects of all namespaces: whatever makes Pods.")
    ] = False,
    selector: Annotated[
        str, typer.Option("--selector", "-l", metavar="LABELS", help="Live objects with these labels, as app=web.")
    ] = "",
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TABLE,
    lock: Annotated[
        Path | None, typer.Option("--lock", metavar="FILE", help="Write names and digests for `digests:`.")
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 when something would change.")] = False,
    namespace: common.HomeNamespace = None,
    from_cluster: common.FromCluster = False,
    server: Annotated[
        bool, typer.Option("--server", help="Show what the cluster itself answers to each Pod, in a dry run.")
    ] = False,
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
    """Show what admission would do with manifests or live objects.

    With -A, -l or -n and no file: live objects that make Pods.
    """
    from webhook.cli.checking import Wanted, run

    wanted = Wanted(
        words=tuple(words or ()),
        files=tuple(files or ()),
        kustomizations=tuple(kustomizations or ()),
        recurse=recurse,
        everywhere=everywhere,
        selector=selector,
        form=form,
        lock=lock,
        exit_code=exit_code,
        namespace=namespace,
        offline=offline,
        verbose=verbose,
        from_cluster=from_cluster,
        server=server,
        place=common.Place(kubeconfig, context, seal_key_file),
    )
    raise typer.Exit(run(wanted, common.choices(config, rule, variable, timeout, docker_config)))
