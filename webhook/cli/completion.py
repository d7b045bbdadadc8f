"""`moorage completion`: the script that makes a shell complete our words."""

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell to write for.")],
) -> None:
    """Print a completion script; `source <(moorage completion bash)` puts it to use."""
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="moorage", complete_var="_MOORAGE_COMPLETE", shell=shell.value)
    sys.stdout.write(script + "\n")
