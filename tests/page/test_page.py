"""The page and its API, over real sockets: what is shown, to whom, and what never is."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import jsonschema
import pytest

from tests.page.asking import Answer, Paged, paged
from tests.support.canary import MARKER, has_any, marked
from tests.support.faults import with_status
from tests.support.process import PROGRAM, served
from tests.support.registry import PATH
from tests.test_reload import CONFIG
from webhook import __version__
from webhook.options import BadOptions, Options
from webhook.page.application import page
from webhook.page.guard import HEADERS
from webhook.page.names import Names
from webhook.page.recent import Recent
from webhook.page.telling import Numbers, Sources
from webhook.server import PAGE_CROWD
from webhook.serving import Service
from webhook.telemetry import Telemetry

PAGES: Final = ("/", "/rules", "/registries", "/targets", "/decisions", "/api/docs")
ANSWERS: Final = ("/api/status", "/api/rules", "/api/registries", "/api/targets", "/api/decisions")
FILES: Final = ("/api/openapi.json", "/style.css", "/icon.svg")
EVERY: Final = (*PAGES, *ANSWERS, *FILES)


class Words(HTMLParser):
    """What a reader sees of a page, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self._said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in {"href", "src", "action"} and value]

    def handle_data(self, data: str) -> None:
        self._said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._said).split())


async def words(shown: Paged, path: str) -> Words:
    answer = await shown.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return Words(answer.text)


# What is shown


async def test_the_status_tells_of_version_configuration_certificate_and_readiness(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        told = (await shown.get("/api/status")).data
        assert (told["version"], told["ready"]) == (__version__, True)
        assert told["checks"] == [{"name": name, "problem": ""} for name in ("configuration", "tls", "draining")]
        assert told["configuration"]["file"] == str(tmp_path / "moorage.yaml")
        assert told["configuration"]["hash"] == shown.server.service.loaded.hash
        assert told["configuration"]["problems"] == []
        assert told["certificate"]["state"] == "valid"
        assert "localhost" in told["certificate"]["names"]
        assert (told["certificateLoaded"], told["certificatesKept"]) == (True, None)
        assert told["registration"] == {"covers": None, "findings": []}
        text = (await words(shown, "/")).text
        assert f"ready Version {__version__}" in text
        assert "None yet. Where Pods are created meanwhile" in text


async def test_what_cannot_be_used_of_a_change_is_told(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        (tmp_path / "moorage.yaml").write_text("apiVersion: moorage.dev/v1alpha1\nkind: Configuration\nruls: []\n")
        assert not await shown.server.service.reload()
        problems = (await shown.get("/api/status")).data["configuration"]["problems"]
        told = f"configuration not loaded: {tmp_path}/moorage.yaml:3:1: ruls: unknown key"
        assert [one for one in problems if one.startswith(told)]
        assert "What was changed since and cannot be used" in (await words(shown, "/")).text


async def test_that_an_example_stands_in_for_the_operators_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "defaults").mkdir()
    async with paged(tmp_path, written="defaults/moorage.yaml") as shown:
        told = (await shown.get("/api/status")).data["configuration"]
        assert told["file"] == str(tmp_path / "defaults" / "moorage.yaml")
        assert told["standsInFor"] == str(tmp_path / "moorage.yaml")
        assert f"in place of {tmp_path}/moorage.yaml , which is not there yet" in (await words(shown, "/")).text


async def test_why_it_is_not_ready_is_told(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        desk = shown.server.service._desk
        assert desk is not None
        desk.draining = True
        assert (await shown.get("/api/status")).data["checks"][2]["problem"] == "the server is about to stop"
        assert "draining not ok the server is about to stop" in (await words(shown, "/")).text


async def test_rules_are_shown_as_they_are_compiled_with_what_became_of_images(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        await shown.server.ask(shown.image, "nginx")
        await shown.server.ask(f"{shown.registry.host}/{PATH}:nosuch")
        told = (await shown.get("/api/rules")).data
        (rule,) = told["rules"]
        assert rule["images"] == [f"{shown.registry.host}/**"]
        assert (rule["targets"], rule["onFailure"], rule["pin"]) == (["localhost:30081"], "refuse", "rollout")
        assert (rule["decided"], told["unmatched"]) == ({"rewritten": 1, "refused": 1}, 1)
        text = (await words(shown, "/rules")).text
        assert f"1. one Images {shown.registry.host}/** " in text
        assert "1 rewritten, 1 refused" in text


async def test_targets_are_shown_with_their_rules(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        await shown.server.ask(shown.image)
        (target,) = (await shown.get("/api/targets")).data["targets"]
        assert (target["name"], target["image"], target["pull"]) == (
            "localhost:30081",
            "localhost:30081/{path}",
            "anonymous",
        )
        assert (target["health"], target["rules"], target["images"]) == ("unwatched", ["one"], 1)
        assert "The configuration does not gate on it." in (await words(shown, "/targets")).text


async def test_a_registry_that_is_left_alone_is_shown_with_the_reason_and_for_how_long(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        before = (await shown.get("/api/registries")).data["registries"]
        assert [(one["host"], one["breaker"], one["answers"]) for one in before] == [
            (shown.registry.host, "closed", {})
        ]
        assert "not asked yet" in (await words(shown, "/registries")).text
        shown.registry.faults["manifest"] = with_status(429, ("Retry-After", "60"))
        await shown.server.ask(shown.image)
        (told,) = (await shown.get("/api/registries")).data["registries"]
        assert (told["breaker"], told["reason"], told["credentials"]) == ("open", "Throttled", ["file"])
        assert 50 <= told["secondsLeft"] <= 60
        assert told["answers"] == {"429": 1}
        assert "open Throttled, asked again in" in (await words(shown, "/registries")).text


def explain(folder: Path, image: str, namespace: str) -> dict[str, Any]:
    command = ("explain", "--config", str(folder / "moorage.yaml"), "-n", namespace, "-o", "json", "--", image)
    done = subprocess.run([sys.executable, "-c", PROGRAM, *command], capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# Two commands are started.
async def test_a_decision_is_told_in_the_words_of_explain(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        # What is found is told with the time that it took; these are told without.
        images = [f"{shown.registry.host}/{PATH}:nosuch", "nginx:1", "NO NAME"]
        await shown.server.ask(*images, namespace="shop")
        (review,) = await shown.reviews()
        assert (review["namespace"], review["kind"], review["workload"]) == ("shop", "Pod", "web")
        assert [one["container"] for one in review["images"]] == ["c0", "c1", "c2"]
        nameless = review["images"].pop()
        assert nameless["trace"] == ["no image name: the path must be lower-case"]
        every = await asyncio.gather(*(asyncio.to_thread(explain, tmp_path, image, "shop") for image in images[:2]))
        text = (await words(shown, "/decisions")).text
        for told, expected in zip(review["images"], every, strict=True):
            for key in ("image", "reference", "action", "reason", "rule", "digest", "source", "targets", "to", "trace"):
                assert told[key] == expected[key], key
            assert " ".join(told["rules"] + told["trace"]) in text


async def test_an_image_that_was_moved_is_shown_with_digest_source_and_target(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        await shown.server.ask(shown.image)
        await shown.server.ask(shown.image)
        second, first = await shown.reviews()
        digest = shown.registry.documents[PATH, "stable"].digest
        for review, source in ((first, "fresh"), (second, "cached")):
            (image,) = review["images"]
            assert (review["outcome"], image["action"], image["reason"]) == ("changed", "rewritten", "Resolved")
            assert (image["digest"], image["source"], image["credential"]) == (digest, source, "file")
            assert image["to"] == f"localhost:30081/{PATH}@{digest}"
            assert image["targets"][0]["taken"]


async def test_decisions_are_filtered_and_turned_over(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        for namespace, image in (("shop", shown.image), ("shop", "nginx"), ("bank", "nginx"), ("bank", shown.image)):
            await shown.server.ask(image, namespace=namespace)
        rows = {
            "?namespace=shop": [2, 1],
            "?rule=one": [4, 1],
            "?outcome=untouched": [3, 2],
            "?namespace=bank&rule=&outcome=changed": [4],
            "?namespace=nosuch": [],
            "?limit=2": [4, 3],
            "?limit=2&before=3": [2, 1],
        }
        for query, expected in rows.items():
            assert [one["number"] for one in await shown.reviews(query)] == expected, query
        first = await words(shown, "/decisions?outcome=untouched&limit=1")
        (older,) = (link for link in first.links if "before=" in link)
        assert "uid 0b4a c0 nginx unchanged NoRule" in (await words(shown, older)).text
        assert [one["number"] for one in await shown.reviews(older.removeprefix("/decisions"))] == [2]
        nothing = (await words(shown, "/decisions?namespace=nosuch")).text
        assert "None of those that are kept is like that." in nothing


async def test_a_review_of_very_many_images_does_not_crowd_an_answer(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        for _ in range(3):
            await shown.server.ask(*[f"nginx:{number}" for number in range(200)])
        told = (await shown.get("/api/decisions")).data
        assert ([len(one["images"]) for one in told["reviews"]], told["more"]) == ([200], True)
        # Cut on its way to one who reads, not where it is kept.
        await shown.server.ask("x" * 5000)
        assert len((await shown.reviews("?limit=1"))[0]["images"][0]["image"]) == 1025


async def test_before_the_first_review_it_is_said_that_there_is_none(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        assert (
            "None yet: since its start this process was asked about no image."
            in (await words(shown, "/decisions")).text
        )


async def test_showing_asks_no_registry(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        await shown.server.ask(shown.image)
        asked = len(shown.registry.asked)
        for path in EVERY:
            assert (await shown.get(path)).status == 200
        assert (await shown.get(f"/decisions?namespace={shown.image}")).status == 200
        assert len(shown.registry.asked) == asked


# To whom


async def test_it_answers_to_names_of_its_own_and_to_no_others(tmp_path: Path) -> None:
    async with paged(tmp_path, page_hosts=("moorage.example.com",)) as shown:
        for host in ("localhost:9000", "127.0.0.1", "[::1]:1", "moorage.example.com"):
            assert (await shown.get("/", host=host)).status == 200, host
        for host in ("evil.example", "evil.example:8081", "", "10.0.0.8"):
            answer = await shown.get("/api/decisions", host=host)
            assert (answer.status, answer.headers["content-type"]) == (421, "text/plain; charset=utf-8"), host
            assert b"--page-host" in answer.body
        for head in (
            b"GET / HTTP/1.0\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n",
        ):
            assert (await shown.say(head + b"\r\n")).status in {400, 421}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_it_is_only_read(method: str, tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        for path in ("/", "/api/decisions", "/nosuch"):
            answer = await shown.get(path, method=method, more="Content-Length: 0\r\n")
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD"), path


async def test_head_gives_the_headers_of_get_and_no_body(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        for path in (*EVERY, "/nosuch"):
            get, head = await shown.get(path), await shown.get(path, method="HEAD")
            assert (head.status, head.body) == (get.status, b""), path
            # The status tells the time.
            ignored = {"content-length"} if path in {"/", "/api/status"} else set()
            assert {k: v for k, v in head.headers.items() if k not in ignored} == {
                k: v for k, v in get.headers.items() if k not in ignored
            }, path


async def test_a_crowd_of_callers_costs_those_who_say_nothing(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        host, _, port = shown.url.removeprefix("http://").rpartition(":")
        callers = [await asyncio.open_connection(host, int(port)) for _ in range(PAGE_CROWD + 1)]
        reading = [asyncio.ensure_future(reader.read()) for reader, _ in callers]
        # Which one is the affair of a clock that counts milliseconds.
        ended, others = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result() for one in ended] == [b""]
        assert (await shown.get("/api/status")).status == 200
        for one in others:
            one.cancel()
        for _, writer in callers:
            writer.close()


async def test_every_answer_keeps_other_sites_away(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        answers = [
            await shown.get(path, more="Origin: http://evil.example\r\n") for path in (*EVERY, "/nosuch", "/api/x")
        ]
        answers.append(await shown.get("/", host="evil.example"))
        answers.append(await shown.get("/", method="POST", more="Content-Length: 0\r\n"))
        answers.append(await shown.get("/decisions?limit=x"))
        for answer in answers:
            assert answer.headers.items() >= HEADERS.items()
            assert not [name for name in answer.headers if name.startswith(("access-control", "set-cookie", "server"))]
        policy = HEADERS["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert HEADERS["cache-control"] == "no-store"


async def test_pages_run_nothing_and_lead_nowhere_else(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        await shown.server.ask(shown.image)
        for path in (*PAGES, "/decisions?limit=1"):
            seen = await words(shown, path)
            assert not {"script", "iframe", "object", "style"} & {*seen.tags}, path
            assert not {name for name in seen.attributes if name.startswith("on") or name == "style"}, path
            for link in seen.links:
                assert link.startswith(("/", "#")), link
                if link.startswith("/"):
                    assert (await shown.get(link)).status == 200, link


STRANGE: Final = (
    '<script>alert("1")</script>',
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "nginx\u202eexe.gpj",
    "a\x00b\x1b[2J",
    "\ud7ff\U0001f40b",
)


async def test_what_strangers_wrote_is_text_and_nothing_else(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        plain = (await words(shown, "/decisions")).tags
        for text in STRANGE:
            await shown.server.ask(text, namespace=text)
        answer = await shown.get("/decisions")
        seen = Words(answer.text)
        assert {*seen.tags} <= {
            *plain,
            "ol",
            "li",
            "details",
            "summary",
            "dl",
            "div",
            "dt",
            "dd",
            "code",
            "time",
            "small",
            "span",
            "h2",
        }
        assert STRANGE[0] in seen.text
        assert STRANGE[1] in seen.text
        assert STRANGE[2] in seen.text
        assert r"nginx\u202eexe.gpj" in seen.text
        assert not [letter for letter in answer.text if not letter.isprintable() and letter != "\n"]
        for text in STRANGE[:2]:
            asked = await shown.get(f"/decisions?namespace={quote(text)}")
            assert {*Words(asked.text).tags} <= {*seen.tags}


# Trouble


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=0", "limit: "),
        ("limit=101", "limit: "),
        ("limit=canary", "limit: "),
        ("before=-1", "before: "),
        ("outcome=canary", "outcome: "),
        (f"namespace={'canary' * 50}", "namespace: "),
        (f"rule={'canary' * 50}", "rule: "),
    ],
)
async def test_parameters_that_are_wrong_are_named_and_not_repeated(query: str, told: str, tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        answer = await shown.get(f"/api/decisions?{query}")
        assert (answer.status, [*answer.data]) == (400, ["error"])
        assert answer.data["error"].startswith(told)
        seen = await shown.get(f"/decisions?{query}")
        assert (seen.status, "Wrong parameters" in seen.text) == (400, True)
        assert b"canary" not in answer.body + seen.body


async def test_what_is_not_there_is_told_as_a_page_and_as_json(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        for path in (
            "/nosuch",
            "/rules/",
            "/../etc/passwd",
            "/templates/base.html",
            "/static/style.css",
            "/mutate",
            "/docs",
        ):
            answer = await shown.get(path)
            assert (answer.status, "Nothing here" in answer.text) == (404, True), path
        assert (await shown.get("/api/nosuch")).data["error"].startswith("nothing is at this path")
        assert (await shown.get(f"/?{'x' * 3000}")).status == 414


def broken() -> Sources:
    def fault() -> Any:
        raise RuntimeError(marked("canary of a fault"))

    return Sources(
        loaded=fault,
        problems=list,
        warnings=list,
        shown=lambda: None,
        findings=list,
        breaker=lambda _: None,
        others=lambda: False,
        numbers=Numbers(*[dict] * 9),
        recent=Recent(Telemetry()),
        wall=lambda: 0.0,
    )


async def test_a_fault_of_ours_is_told_by_its_id_alone() -> None:
    faults: list[BaseException] = []

    async def well() -> dict[str, str]:
        return {}

    def fault(error: BaseException) -> str:
        faults.append(error)
        return "id-7"

    transport = httpx.ASGITransport(page(broken(), well, fault, Names()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/", "/api/status"):
            answer = await client.get(path)
            assert (answer.status_code, "internal error id-7" in answer.text) == (500, True)
            assert answer.headers["cache-control"] == "no-store"
            assert not has_any(answer.text)
    assert [type(one) for one in faults] == [RuntimeError, RuntimeError]


# The API


def shapes(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        yield path, {**schema, "components": document["components"]}


async def test_each_answer_has_the_shape_that_the_document_tells(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown:
        await shown.server.ask(shown.image, "nginx")
        document = (await shown.get("/api/openapi.json")).data
        assert document["openapi"].startswith("3.1")
        told = dict(shapes(document))
        assert {*told} == {*ANSWERS}
        for path, schema in told.items():
            answer = (await shown.get(path)).data
            jsonschema.Draft202012Validator(schema).validate(answer)
            # Nothing that the document does not tell of.
            name = schema["$ref"].rpartition("/")[2]
            assert {*answer} == {*document["components"]["schemas"][name]["properties"]}
        docs = (await words(shown, "/api/docs")).text
        assert all(f"GET {path}" in docs for path in told)
        assert all(name in docs for name in document["components"]["schemas"])


# Secrets


async def test_no_secret_is_on_any_page(tmp_path: Path) -> None:
    (tmp_path / "path").write_text(f"pathsecret{MARKER}")
    (tmp_path / "seal").write_text(marked("k" * 32))
    given = {"path_secret_file": tmp_path / "path", "seal_key_file": tmp_path / "seal"}
    async with paged(tmp_path, **given) as shown:
        service = shown.server.service
        (tmp_path / "path").write_text("short")
        assert not await service.reload()
        for path in EVERY:
            answer: Answer = await shown.get(path)
            assert answer.status == 200
            assert not has_any(answer.text), path
        assert "path secret not loaded" in (await words(shown, "/")).text


# The process


async def test_without_the_option_there_is_no_page_and_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    program = f"""
import asyncio, json, pathlib, sys
from webhook.options import Options
from webhook.serving import Service
folder = pathlib.Path({str(tmp_path)!r})
(folder / "moorage.yaml").write_text({CONFIG.format(name="one", host="registry.example.com")!r})
(folder / "docker.json").write_text("{{}}")
service = Service(Options(folder / "moorage.yaml", listen="127.0.0.1:0", ops_listen="127.0.0.1:0", drain=0.0,
    tls_self_signed="localhost", kube="off"), environ={{}})
def ready(line):
    print(*json.loads(line)["listening"])
    service.server.stop()
asyncio.run(service.run(ready=ready))
print(*sorted(name for name in sys.modules if name.startswith(("webhook.page", "webhook.showing", "jinja2"))))
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["admission ops", "", ""]


async def test_a_process_shows_its_page_and_ends_while_somebody_is_connected_to_it(tmp_path: Path) -> None:
    async with served(tmp_path, "--page-listen", "127.0.0.1:0", "--drain", "0s") as process:
        host, _, port = process.listening["page"].removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"200"
        process.signal(signal.SIGTERM)
        assert await process.process.wait() == 0
        writer.close()
        assert process.lines("page beyond loopback") == []


async def test_a_page_that_others_can_reach_is_told_in_the_log(tmp_path: Path) -> None:
    async with paged(tmp_path, page_listen="0.0.0.0:0") as shown:
        (line,) = shown.server.lines("page beyond loopback")
        assert (line["level"], line["address"]) == ("warning", "0.0.0.0:0")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"page_hosts": ("a.example",)}, "--page-host wants --page-listen"),
        ({"page_listen": "8081"}, "'8081' is no address"),
        ({"page_listen": "127.0.0.1:0", "page_hosts": ("a.example:80",)}, "--page-host 'a.example:80' is no name"),
        (
            {"page_listen": "127.0.0.1:0", "page_hosts": ("https://a.example",)},
            "--page-host 'https://a.example' is no name",
        ),
    ],
)
async def test_options_that_make_no_sense_are_refused(options: dict[str, Any], why: str, tmp_path: Path) -> None:
    (tmp_path / "moorage.yaml").write_text(CONFIG.format(name="one", host="registry.example.com"))
    given = Options(tmp_path / "moorage.yaml", tls_self_signed="localhost", kube="off", **options)
    with (tmp_path / "log").open("w") as log, pytest.raises(BadOptions, match=re.escape(why)):
        await Service(given, environ={}, stderr=log).run()
