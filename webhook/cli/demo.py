"""`moorage demo`: its help. The work is in `demonstrating.py`."""

import typer


def demo() -> None:
    """Pin, move, pin again, lose the registry, and still pin: against a registry and a server started here."""
    from webhook.cli.demonstrating import run

    raise typer.Exit(run())
