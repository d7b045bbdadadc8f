"""docs/security.md, held against what it speaks of: tests, doors, rights, and the way to let the API server alone call."""

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml
from fastapi.routing import APIRoute

from tests.deploy.manifests import DEPLOY, Object, container, installed, kustomization, objects, of_kind, rendered
from tests.support.serving import Connection, post, review, serving
from webhook.cli.main import app
from webhook.ops import operations
from webhook.page.application import SHAPES
from webhook.page.rendering import NAVIGATION

TOP: Final = Path(__file__).parents[1]
PAGE: Final = (TOP / "docs" / "security.md").read_text()
HOME: Final = "moorage-system"

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_BORDER: Final = re.compile(r" ?(?<!\\)\| ?")

Row = Mapping[str, str]
Right = tuple[str, str, str, str, str]
"""Account, where, resource with its group, verb, and the one name that it holds for."""


def table(first: str) -> list[Row]:
    """The rows of the table whose first column has this title, by the titles of columns."""
    lines = PAGE.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    head = cells(lines[start])
    found: list[Row] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(dict(zip(head, cells(line), strict=True)))
    return found


def cells(line: str) -> list[str]:
    return _BORDER.split(line)[1:-1]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def block(kind: str, start: str) -> str:
    """The one block of a kind that begins so."""
    (found,) = (text for name, text in _BLOCK.findall(PAGE) if name == kind and text.startswith(start))
    return str(found)


@pytest.mark.parametrize("row", table("threat"), ids=lambda row: row["threat"][:60])
def test_each_threat_has_its_place_in_the_code_and_tests_that_are_there(row: Row) -> None:
    places, tests = words(row["where"]), words(row["tested by"])
    assert places
    assert [name for name in places if not (TOP / "webhook" / name).is_file()] == []
    assert tests
    assert [
        name for name in tests if not (re.fullmatch(r"tests/.*test_\w+\.py", name) and (TOP / name).is_file())
    ] == []


# Ways in


def test_each_port_that_is_listened_at_is_a_way_in() -> None:
    told = " ".join(row["where"] for row in table("where"))
    shipped = {
        port["containerPort"] for one in installed() if one["kind"] == "Deployment" for port in container(one)["ports"]
    }
    components = [path.read_text() for path in (DEPLOY / "components").glob("*/kustomization.yaml")]
    shipped |= {int(port) for text in components for port in re.findall(r"listen=[\d.]+:(\d+)", text)}
    assert shipped >= {8443, 8080, 8081, 10250, 10260, 10261}
    assert [port for port in shipped if not re.search(rf"\b{port}\b", told)] == []


def test_each_path_of_the_ops_port_is_told() -> None:
    async def nothing() -> dict[str, str]:
        return {}

    made = operations(nothing, lambda _: (b"", ""), lambda: b"")
    paths = {route.path for route in made.routes if isinstance(route, APIRoute)}
    assert paths == {"/livez", "/readyz", "/metrics", "/certificate"}
    (row,) = (row for row in table("where") if row["where"].startswith("port 8080"))
    assert paths <= {word.removeprefix("GET ") for word in words(row["where"])}


def test_each_path_of_the_page_is_told() -> None:
    (row,) = (row for row in table("where") if row["where"].startswith("port 8081"))
    told = {word.removeprefix("GET ") for word in words(row["where"]) if "/" in word}
    assert told == {*(path for path, _ in NAVIGATION), *(f"/api/{name}" for name, _, _ in SHAPES), "/api/openapi.json"}


# Rights


def granted(every: Sequence[Object], more: str = "") -> set[Right]:
    """What bindings give to whom."""
    roles = {(one["kind"], one["metadata"]["name"]): one["rules"] for one in every if one["kind"].endswith("Role")}
    return {
        (subject["name"], one["metadata"].get("namespace", f"everywhere{more}"), resource, verb, name)
        for one in every
        if one["kind"].endswith("RoleBinding")
        for rule in roles[one["roleRef"]["kind"], one["roleRef"]["name"]]
        for subject in one["subjects"]
        for resource in resources(rule)
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def resources(rule: Mapping[str, Any]) -> Iterator[str]:
    assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}
    for group in rule["apiGroups"]:
        yield from (f"{resource}.{group}" if group else resource for resource in rule["resources"])


def test_the_table_of_rights_names_those_that_are_shipped_and_no_others() -> None:
    told = [
        (account, row["where"].replace("`", ""), resource, verb, name)
        for row in table("account")
        for account in words(row["account"])
        for resource in words(row["resource"])
        for verb in words(row["verbs"])
        for name in words(row["only"]) or [""]
    ]
    access = DEPLOY / "components" / "pull-secrets" / "access.yaml"
    shipped = granted(installed()) | granted(objects(access.read_text()), ", with pull-secrets")
    assert len(set(told)) == len(told)
    assert set(told) == shipped


def test_each_right_says_what_it_is_for_and_what_a_thief_can_do_with_it() -> None:
    rows = table("account")
    assert all(row["what for"] and row["with it a thief"] for row in rows)
    assert {row["where"] for row in rows} == {"everywhere", HOME, "everywhere, with `pull-secrets`"}


# The API server alone


def test_the_overlay_that_lets_the_api_server_alone_call_is_built(tmp_path: Path) -> None:
    more = yaml.safe_load(block("yaml", "# kustomization.yaml"))
    server = of_kind(objects(rendered(kustomization(tmp_path, **more))), "Deployment")
    args = container(server)["args"]
    assert args[-2:] == ["--client-ca=/etc/moorage-callers/callers.crt", "--client-name=kube-apiserver"]
    group: Any = typer.main.get_command(app)
    known = {name for option in group.commands["serve"].params for name in option.opts}
    assert {arg.partition("=")[0] for arg in args[1:]} <= known
    (mount,) = (one for one in container(server)["volumeMounts"] if one["mountPath"] == "/etc/moorage-callers")
    (volume,) = (one for one in server["spec"]["template"]["spec"]["volumes"] if one["name"] == mount["name"])
    assert volume["configMap"] == {"name": "moorage-callers"}


def made_by(script: str, folder: Path) -> None:
    subprocess.run(["sh", "-e", "-c", script], cwd=folder, capture_output=True, check=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
async def test_the_certificates_that_it_tells_to_make_are_taken(tmp_path: Path) -> None:
    await asyncio.to_thread(made_by, block("sh", "openssl"), tmp_path)
    authority = (tmp_path / "callers.crt").read_text()
    async with serving(client_ca=authority, client_names=frozenset({"kube-apiserver"}), last_call=0.1) as running:
        context = ssl.create_default_context(cadata=running.ca.decode())
        context.load_cert_chain(tmp_path / "apiserver.crt", tmp_path / "apiserver.key")
        opened = await asyncio.open_connection(*running.admission, ssl=context, server_hostname="localhost")
        connection = Connection(*opened)
        await connection.send(post(review("a")))
        assert (await connection.answer())[0] == 200
        connection.close()
