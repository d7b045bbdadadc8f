"""The entry point: commands, and what a person sees when one ends early."""

import gc
import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from webhook import __version__
from webhook.cli.adopt import adopt
from webhook.cli.certs import app as certs
from webhook.cli.check import check
from webhook.cli.common import put, say
from webhook.cli.completion import VARIABLE, completion
from webhook.cli.config import app as config
from webhook.cli.demo import demo
from webhook.cli.doctor import doctor
from webhook.cli.exits import MEANING, Exit, Stop
from webhook.cli.explain import explain
from webhook.cli.resolve import resolve
from webhook.cli.serve import serve
from webhook.cli.version import version

app = typer.Typer(
    name="moorage",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pins floating image tags to upstream digests and points Pods at the nearest copy.",
    epilog="Exit codes: " + ", ".join(f"{code.value} {MEANING[code]}" for code in Exit),
)
for command in (check, explain, resolve, adopt, doctor, serve, demo, version, completion):
    app.command()(command)
app.add_typer(config, name="config")
app.add_typer(certs, name="certs")


def _version(wanted: bool) -> None:
    if wanted:
        put(f"moorage {__version__}\n")
        raise typer.Exit


@app.callback()
def which(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; as a plugin of kubectl it goes by `kubectl moorage`."""
    # A command ends before there is much to collect, and looking for it takes a tenth of a short one's time. `serve`,
    # which does not end, turns the collector on again.
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        # Manifests go out as they came in, whatever the locale can write.
        if stream is not None:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]  # text streams have it
    name = "kubectl moorage" if Path(sys.argv[0]).name == "kubectl-moorage" else "moorage"
    sys.exit(run(sys.argv[1:], name))


@cache
def _command() -> Any:
    return typer.main.get_command(app)


def run(arguments: list[str], name: str = "moorage") -> int:
    """Run with these arguments and give the exit code."""
    if VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        outcome = _command().main(arguments or ["--help"], prog_name=name, complete_var=VARIABLE, standalone_mode=False)
        return int(outcome) if isinstance(outcome, int) else Exit.FINE
    except Stop as stop:
        say(str(stop))
        return stop.code
    except typer.Exit as done:
        return done.exit_code
    except TyperException as wrong:
        said = " ".join(wrong.format_message().replace("Value error, ", "").split()).rstrip(".")
        context = getattr(wrong, "ctx", None)
        said += " See" if said.endswith("?") else "; see"
        say(f"moorage: {said} {context.command_path if context is not None else name} --help")
        return Exit.USAGE
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:  # noqa: BLE001 - the outer door of the command line
        return _fault(error)


def _fault(error: Exception) -> int:
    import traceback

    if os.environ.get("MOORAGE_TRACEBACK"):
        traceback.print_exception(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    say(
        f"moorage: internal error: {type(error).__name__} at {place}; "
        "MOORAGE_TRACEBACK=1 shows all of it. Please report it"
    )
    return Exit.UNASKED
