"""What the project promises about itself, kept by looking: the shape of the code, the pages, the files."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.packages import COMMAND, IMAGE, lines, needed, pinned
from webhook import __version__
from webhook.cli.exits import Exit
from webhook.core.reason import MEANING, Reason

TOP: Final = Path(__file__).parents[1]
PACKAGE: Final = TOP / "webhook"
MODULES: Final = sorted(PACKAGE.rglob("*.py"))
PAGES: Final = sorted(
    [*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *TOP.glob("[!.]*/README.md"), TOP / "tests/cluster/README.md"]
)

IO: Final = frozenset(
    {
        "aiohttp", "anyio", "asyncio", "fastapi", "http", "httptools", "httpx", "httpx_aiohttp", "io", "logging", "os",
        "pathlib", "prometheus_client", "random", "rich", "secrets", "shutil", "signal", "socket", "ssl", "starlette",
        "structlog", "subprocess", "sys", "tempfile", "threading", "time", "typer", "urllib.request", "uvicorn",
        "uvloop", "watchfiles",
    }
)  # fmt: skip
"""What reaches out of the process, or shows it the time of day."""


@cache
def nodes(module: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(module.read_text())))


def imports(module: Path) -> Iterator[str]:
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def reaches_out(module: Path) -> bool:
    names = set(imports(module))
    return any(name in IO or name.partition(".")[0] in IO for name in names)


def functions(module: Path) -> Iterator[tuple[str, int]]:
    for node in nodes(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{module.relative_to(TOP)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def tracked() -> list[Path]:
    told = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        return [file for folder in ("webhook", "tests", "docs", "deploy") for file in (TOP / folder).rglob("*.*")]
    return [TOP / name for name in told.stdout.split("\0") if name and (TOP / name).is_file()]


def test_nearly_half_of_the_code_thinks_without_talking() -> None:
    lines = {module: len(module.read_text().splitlines()) for module in MODULES}
    pure = sum(count for module, count in lines.items() if not reaches_out(module))
    assert pure / sum(lines.values()) >= 0.45


@pytest.mark.parametrize("module", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.stem)
def test_the_core_reaches_nowhere(module: Path) -> None:
    assert not reaches_out(module)


def test_functions_are_short() -> None:
    sizes = [one for module in MODULES for one in functions(module)]
    long = [name for name, size in sizes if size > 50]
    assert len(long) / len(sizes) <= 0.02, long


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_is_explained(reason: Reason) -> None:
    assert MEANING[reason].endswith(".")


def test_the_version_is_one() -> None:
    assert tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_the_exit_codes_are_those_of_kubectl_diff_and_more() -> None:
    assert {code.name: code.value for code in Exit} == {
        "FINE": 0, "CHANGES": 1, "USAGE": 2, "UNASKED": 3, "REFUSED": 4,
    }  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def headings(page: Path) -> set[str]:
    """The names by which links reach the parts of a page, as forges make them of its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_links_to_a_part_of_a_page_lead_to_a_heading_of_it(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text())
    assert [part for target, part in links if part not in headings(page.parent / target if target else page)] == []


@pytest.mark.parametrize("lock", sorted((TOP / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_names_versions_and_hashes_and_no_place(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), (
            line
        )


def test_the_page_names_each_package_that_runs_and_no_other() -> None:
    section = (TOP / "docs" / "security.md").read_text().partition("\n## What runs in it\n")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([\w-]+)`", row.split("|")[1]) for row in section.splitlines() if row.startswith("| `")]
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    clouds = [one for name in ("ecr", "acr", "gar") for one in project["optional-dependencies"][name]]
    direct = {re.split(r"[\[<>=]", one)[0] for one in (*project["dependencies"], *clouds)}
    # `requests` comes with the client of Kubernetes in any case.
    assert {row[0] for row in rows} == direct - {"requests"}
    named = [name for row in rows for name in row]
    assert sorted(named) == sorted(pinned("clouds.txt", IMAGE))
    command = {name for row in rows if row[0] not in {"botocore", "azure-identity", "google-auth"} for name in row}
    assert command == pinned("run.txt", COMMAND).keys()


def test_what_a_lock_holds_besides_what_runs_only_builds() -> None:
    builds = {"editables", "hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"}
    # And `colorama`, which is for Windows alone.
    assert lines("run.txt").keys() - needed(COMMAND) == builds | {"colorama"}
    assert lines("clouds.txt").keys() - needed(IMAGE) == builds | {"colorama"}
    uninstalled = re.findall(r"pip uninstall --yes (.+?) \\", (TOP / "Dockerfile").read_text())
    assert builds <= set(" ".join(uninstalled).split())


def test_no_private_key_is_kept_here() -> None:
    begin = b"PRIVATE " + b"KEY-----"
    assert [str(file) for file in tracked() if begin in file.read_bytes()] == []


def test_every_event_of_the_log_is_on_its_page() -> None:
    page = (TOP / "docs" / "metrics.md").read_text()
    for module in MODULES:
        for event in re.findall(r'log\.write\(\s*"\w+", "([^"]+)"', module.read_text()):
            assert f"`{event}`" in page, f"{module.name}: {event}"


def test_each_module_of_the_architecture_is_there() -> None:
    page = (TOP / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", page))
    assert [name for name in named if not (PACKAGE / name).exists()] == []
    rooms = {module.relative_to(PACKAGE).parts[0] for module in MODULES} - {"__init__.py"}
    assert sorted(room for room in rooms if f"`{room}`" not in page and f"`{room}/`" not in page) == []


def test_a_make_word_of_each_kind_is_explained() -> None:
    told = subprocess.run(["make", "help"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    words = {line.split()[0] for line in told.splitlines()}
    assert {
        "demo",
        "test",
        "test-node",
        "test-quick",
        "fuzz",
        "check",
        "bench",
        "sbom",
        "docs",
        "parts",
        "packages",
        "cluster",
    } <= words
    assert {"lock", "clean"} <= words
