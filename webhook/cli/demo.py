"""`moorage demo`: its help. The work is in `demonstrating.py`."""

import typer


def demo() -> None:
    """Pin, move the tag, lose the registry: all here.

    Starts a registry and the server on loopback, sends three Pods, and ends with 0 only if all came out as it should.
    """
    from webhook.cli.demonstrating import run

    raise typer.Exit(run())
