"""`moorage check`: its options. The work is in `checking.py`, so that `--help` need not import it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from webhook.cli import common


class Form(StrEnum):
    """The values of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    PATCH = "patch"
    DIFF = "diff"
    IMAGES = "images"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"


def check(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE|DIR|-", help="Manifests: YAML or JSON, or - for standard input."),
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--filename", "-f", metavar="FILE", help="The same. Repeatable.")
    ] = None,
    kustomizations: Annotated[
        list[Path] | None,
        typer.Option("--kustomize", "-k", metavar="DIR", help="A kustomization, built by kubectl. Repeatable."),
    ] = None,
    recurse: Annotated[bool, typer.Option("--recursive", "-R", help="Look into sub-folders.")] = False,
    form: Annotated[Form, typer.Option("--output", "-o", help="How to print it.")] = Form.TABLE,
    lock: Annotated[
        Path | None, typer.Option("--lock", metavar="FILE", help="Write names and digests for `digests:`.")
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 when something would change.")] = False,
    namespace: common.Namespace = "default",
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    offline: common.Offline = False,
    timeout: common.Timeout = "4s",
    docker_config: common.DockerConfig = None,
    verbose: common.Verbose = False,
) -> None:
    """Show what admission would do with manifests."""
    from webhook.cli.checking import Wanted, run

    wanted = Wanted(
        paths=(*(paths or ()), *(files or ())),
        kustomizations=tuple(kustomizations or ()),
        recurse=recurse,
        form=form,
        lock=lock,
        exit_code=exit_code,
        namespace=namespace,
        offline=offline,
        verbose=verbose,
    )
    raise typer.Exit(run(wanted, common.choices(config, rule, variable, timeout, docker_config)))
