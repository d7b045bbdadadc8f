"""`moorage completion`: the script that makes a shell complete our words."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from webhook.cli import common

VARIABLE: Final = "_MOORAGE_COMPLETE"
"""Set by the script when it asks what may come next."""


class Shell(StrEnum):
    """Shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print the script that makes a shell complete.

    `source <(moorage completion bash)` puts it to use.
    """
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="moorage", complete_var=VARIABLE, shell=shell.value)
    common.put(script + "\n")
