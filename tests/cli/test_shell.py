"""What only a real process shows: pipes, interrupts, names, help, and what is imported for it."""

import json
import os
import signal
import subprocess
import sys
from array import array
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD

import pytest
import typer

from tests.cli.conftest import START, TOP, Shell, started
from tests.support.until import until
from webhook import __version__
from webhook.cli.main import app

ENDS = [
    ("all is well", ["version"], {"stdout"}, 0),
    ("all is well, and nobody hears of it", ["check", "--offline", "pod.yaml"], {"stdout", "stderr"}, 0),
    ("refused, and only the reason is heard", ["check", "--offline", "hand.yaml"], {"stdout"}, 4),
    ("refused, and nobody hears of it", ["check", "--offline", "hand.yaml"], {"stdout", "stderr"}, 4),
]


@pytest.mark.parametrize(("words", "gone", "code"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_a_reader_that_left_changes_nothing_of_how_it_ends(
    shell: Shell, words: list[str], gone: set[str], code: int
) -> None:
    pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: IMAGE}]}\n"
    shell.write("pod.yaml", pod.replace("IMAGE", "nginx"))
    shell.write("hand.yaml", pod.replace("IMAGE", "'localhost:30081/x'"))
    with started(*words) as child:
        assert child.stderr is not None
        for name in gone:
            getattr(child, name).close()
        told = "" if child.stderr.closed else child.stderr.read()
    assert child.returncode == code
    assert "Traceback" not in told
    assert "Broken" not in told


def test_what_cannot_be_written_is_no_success(shell: Shell) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", START, "version"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env={"PYTHONPATH": TOP}
        )
    assert done.returncode == 2
    assert done.stderr == "moorage: standard output cannot be written: No space left on device\n"


def test_a_closed_standard_output_is_said(shell: Shell) -> None:
    command = ["sh", "-c", 'exec "$0" -c "$1" version >&-', sys.executable, START]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env={"PYTHONPATH": TOP})
    assert (done.returncode, done.stderr) == (2, "moorage: standard output is closed\n")


def test_a_reader_that_leaves_is_no_error(shell: Shell) -> None:
    pods = "\n---\n".join(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\nspec: {{containers: [{{name: a, image: nginx}}]}}"
        for number in range(3000)
    )
    shell.write("pods.yaml", pods)
    with started("check", "--offline", "pods.yaml") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        told = child.stderr.read()
    assert child.returncode == 0
    assert "Traceback" not in told
    assert "Broken" not in told


def waits_for_input(child: "subprocess.Popen[str]") -> bool:
    """It sleeps before an empty pipe; between two reads of a full one no interrupt of a person comes."""
    assert child.stdin is not None
    left = array("i", [0])
    ioctl(child.stdin, FIONREAD, left)
    state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return left[0] == 0 and state == "S"


def test_an_interrupt_while_manifests_come_in_ends_with_130_and_no_traceback(shell: Shell) -> None:
    with started("check", "-") as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write("#" + "x" * 300_000)
        child.stdin.flush()
        until("all is read, and more is waited for", lambda: waits_for_input(child))
        child.send_signal(signal.SIGINT)
        told = child.stderr.read()
    assert child.returncode == 130
    assert told == ""


def test_as_a_plugin_it_goes_by_the_name_of_kubectl(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-moorage"
    plugin.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {TOP!r})\n{START}\n")
    plugin.chmod(0o755)
    told = subprocess.run([plugin, "--help"], capture_output=True, text=True, check=True).stdout
    assert told.startswith("Usage: kubectl moorage ")


def test_help_imports_nothing_heavy() -> None:
    heavy = {
        "aiohttp",
        "asyncio",
        "cryptography",
        "fastapi",
        "httpx",
        "kubernetes",
        "msgspec",
        "pydantic",
        "rich",
        "yaml",
    }
    program = (
        "import sys\nfrom webhook.cli.main import run\ncode = run(['--help'])\n"
        f"found = {heavy!r} & set(sys.modules)\nsys.exit(f'imported: {{found}}' if found else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={"PYTHONPATH": TOP}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["bash", "zsh", "fish", "powershell"])
def test_completion_prints_a_script(shell: Shell, name: str) -> None:
    assert shell.type("completion", name) == 0
    assert "_MOORAGE_COMPLETE" in shell.out


def test_completion_knows_our_words() -> None:
    environ = {
        **os.environ,
        "PYTHONPATH": TOP,
        "_MOORAGE_COMPLETE": "complete_bash",
        "COMP_WORDS": "moorage ex",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'moorage'; " + START],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert done.stdout.split() == ["explain"]


def test_serve_says_where_it_listens_and_lives_with_the_collector_on(shell: Shell) -> None:
    program = (
        "import gc\ntry:\n    "
        + START.replace("; ", "\n    ")
        + "\nexcept SystemExit as end:\n    print(end.code, gc.isenabled())"
    )
    words = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
        "--tls-self-signed",
        "localhost",
        "--drain",
        "0s",
    ]
    with started(*words, program=program) as child:
        assert child.stdout is not None
        listening = json.loads(child.stdout.readline())["listening"]
        assert listening["admission"].startswith("https://127.0.0.1:")
        child.terminate()
        told, _ = child.communicate(timeout=30)
    assert told == "0 True\n"


def names() -> list[list[str]]:
    group = typer.main.get_command(app)
    found = [[name] for name in group.commands]  # type: ignore[attr-defined]
    return [[], *found, *(["config", name] for name in ("validate", "schema", "show"))]


@pytest.mark.parametrize("words", names(), ids=" ".join)
def test_help_is_there_for_every_command(shell: Shell, words: list[str]) -> None:
    assert shell.type(*words, "--help") == 0
    assert shell.out.startswith("Usage: moorage")
    assert "\x1b" not in shell.out


def test_without_a_command_the_help_is_shown(shell: Shell) -> None:
    assert shell.type() == 0
    assert "Usage: moorage" in shell.out


@pytest.mark.parametrize(
    "words",
    [["chekc"], ["check", "--nosuch"], ["serve", "--nosuch", "x"], ["serve", "--page-lisen", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_not_there_is_refused_with_a_way_on(shell: Shell, words: list[str]) -> None:
    assert shell.type(*words) == 2
    assert words[-1 if len(words) < 3 else -2] in shell.err
    way_on = "Did you mean 'check'? See moorage --help" if len(words) == 1 else f"; see moorage {words[0]} --help"
    assert shell.err.endswith(f"{way_on}\n")


def test_the_version_for_people_and_for_programs(shell: Shell) -> None:
    assert shell.type("version") == 0
    assert shell.out == f"moorage {__version__}\n"
    assert shell.type("version", "-o", "json") == 0
    assert json.loads(shell.out)["version"] == __version__


def test_validate_tells_every_mistake_at_once(shell: Shell) -> None:
    text = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\nrules:\n- {nam: a, images: [x.example.com/**]}\ntargts: {}\n"
    shell.write("bad.yaml", text)
    assert shell.type("config", "validate", "--config", "bad.yaml") == 2
    assert shell.err.splitlines() == [
        "bad.yaml:4:3: rules[0].name: this key is missing",
        'bad.yaml:4:4: rules[0].nam: unknown key (did you mean "name"?)',
        'bad.yaml:5:1: targts: unknown key (did you mean "targets"?)',
    ]
    assert shell.out == ""


def test_show_prints_what_can_be_loaded_again(shell: Shell) -> None:
    assert shell.type("config", "show") == 0
    shell.write("shown.yaml", shell.out)
    assert shell.type("config", "validate", "--config", "shown.yaml") == 0
    assert shell.type("config", "show", "-o", "json") == 0
    assert json.loads(shell.out)["kind"] == "Configuration"


def test_the_schema_is_json(shell: Shell) -> None:
    assert shell.type("config", "schema") == 0
    assert json.loads(shell.out)["$schema"].startswith("http://json-schema.org/")
