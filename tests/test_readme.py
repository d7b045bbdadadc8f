"""The README as a new user takes it: its files, its commands in their order, what they print, against a real registry."""

import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import jsonpatch
import msgspec
import pytest

from tests.real import registry as real
from tests.support.ports import free_port

TOP: Final = Path(__file__).parents[1]
README: Final = (TOP / "README.md").read_text()
HOST: Final = "registry.example.com"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"^(?:#|//) (\S+\.(?:yaml|json))\n")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Command(msgspec.Struct, frozen=True):
    """A line that a user types, and the lines that the README shows beneath it."""

    line: str
    output: str


def blocks(kind: str) -> Iterator[str]:
    for found in _BLOCK.finditer(README):
        if found[1] == kind:
            yield found[2]


def commands() -> list[Command]:
    found: list[Command] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            found.append(Command(line, output))
    return found


def words(text: str) -> list[list[str]]:
    """What is printed, but for the width of columns and the digits of a digest."""
    # The server's own line comes when it comes: it runs beside the other commands.
    lines = [line for line in text.splitlines() if line and not line.startswith('{"listening"')]
    return [_DIGEST.sub("sha256:…", line).split() for line in lines]


@pytest.mark.parts
def test_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    with real.running(_made(tmp_path / "registry")) as registry:
        registry.push_image("team/app", "stable")
        home = _made(tmp_path / "home")
        _write_files(home, registry.host)
        outputs = _run(home, registry.host)
    for command in commands():
        if command.output:
            assert words(outputs[command.line]) == words(command.output.replace(HOST, registry.host)), command.line
    answer = next(output for line, output in outputs.items() if "review.json" in line)
    review = json.loads((home / "review.json").read_text())["request"]["object"]
    patch = json.loads(b64decode(json.loads(answer)["response"]["patch"]))
    patched = jsonpatch.apply_patch(review, patch)
    assert words(patched["spec"]["containers"][0]["image"]) == [["localhost:30081/team/app@sha256:…"]]
    assert "moorage.dev/images" in patched["metadata"]["annotations"]
    pinned = (home / "pinned.yaml").read_text()
    assert _DIGEST.sub("sha256:…", pinned) == (home / "app.yaml").read_text().replace(
        f"{registry.host}/team/app:stable", "localhost:30081/team/app@sha256:…"
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _write_files(home: Path, host: str) -> None:
    for kind in ("yaml", "json"):
        for block in blocks(kind):
            name = _FILE.match(block)
            assert name is not None, f"a block of {kind} that names no file: {block[:60]}"
            text = block if kind == "yaml" else block.partition("\n")[2]
            (home / name[1]).write_text(text.replace(HOST, host))
    with (home / "moorage.yaml").open("a") as file:
        file.write(f"registries:\n  {host}: {{plainHTTP: true, allowLoopback: true}}\n")


def _run(home: Path, host: str) -> dict[str, str]:
    """Type every command into one shell; what each of them printed."""
    (_made(home / "bin") / "moorage").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from webhook.cli.main import main; main()' \"$@\"\n"
    )
    (home / "bin" / "moorage").chmod(0o755)
    ports = {"8443": str(free_port()), "8080": str(free_port())}
    script = ["set -eu", 'trap "kill -KILL %1" EXIT']
    for number, command in enumerate(commands()):
        typed = command.line.replace(HOST, host)
        for usual, free in ports.items():
            typed = typed.replace(usual, free)
        script += [f"printf '\\n@@ {number}\\n'", typed]
    environ = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=home,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    parts = re.split(r"^@@ (\d+)\n", done.stdout, flags=re.MULTILINE)[1:]
    return {commands()[int(number)].line: text for number, text in zip(parts[::2], parts[1::2], strict=True)}


def test_the_first_block_names_words_of_make() -> None:
    made = subprocess.run(["make", "help"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    known = {line.split()[0] for line in made.splitlines()}
    asked = re.findall(r"^make ([a-z-]+)", next(blocks("sh")), re.MULTILINE)
    assert asked == ["demo", "test"]
    assert set(re.findall(r"`make ([a-z-]+)`", README)) | set(asked) <= known
