"""The entry point: commands, and what a person sees when one ends early."""

import os
import sys
import traceback
from pathlib import Path

import typer
from typer.exceptions import TyperException

from webhook.cli.check import check
from webhook.cli.common import say
from webhook.cli.completion import completion
from webhook.cli.config import app as config
from webhook.cli.demo import demo
from webhook.cli.exits import Exit, Stop
from webhook.cli.explain import explain
from webhook.cli.resolve import resolve
from webhook.cli.serve import serve
from webhook.cli.version import version

EPILOG = "Exit codes: " + " · ".join(f"{code.value} {code.name.lower()}" for code in Exit)

app = typer.Typer(
    name="moorage",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pins floating image tags to upstream digests and points Pods at the nearest copy.",
    epilog=EPILOG,
)
for command in (check, explain, resolve, serve, demo, version, completion):
    app.command()(command)
app.add_typer(config, name="config")


def main() -> None:
    """Run the command line; as a plugin of kubectl it goes by `kubectl moorage`."""
    name = "kubectl moorage" if Path(sys.argv[0]).name == "kubectl-moorage" else "moorage"
    sys.exit(run(sys.argv[1:], name))


def run(arguments: list[str], name: str = "moorage") -> int:
    """Run with these arguments and give the exit code."""
    try:
        outcome = typer.main.get_command(app).main(arguments or ["--help"], prog_name=name, standalone_mode=False)
        return int(outcome) if isinstance(outcome, int) else Exit.FINE
    except Stop as stop:
        say(f"moorage: {stop}")
        return stop.code
    except typer.Exit as done:
        return done.exit_code
    except TyperException as wrong:
        said = wrong.format_message().replace("Value error, ", "").rstrip(".")
        say(f"moorage: {said}; see {name} --help")
        return Exit.USAGE
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader left; that is no error, and Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FINE
    except Exception as error:  # noqa: BLE001 - the outer door of the command line
        if os.environ.get("MOORAGE_TRACEBACK"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        say(
            f"moorage: internal error: {type(error).__name__} at {place}; "
            "MOORAGE_TRACEBACK=1 shows all of it. Please report it"
        )
        return Exit.UNASKED
