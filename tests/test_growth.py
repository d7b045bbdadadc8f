"""Answers that are meant to fill memory, to a process whose memory is watched (requirement R26)."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import pytest

from tests.support import growth, wire
from tests.support.faults import bombed, sent_as, together, with_body, with_header, with_status
from tests.support.registry import Asked, Fault, fake_registry, image_document
from tests.support.wire import Answer
from webhook.core.manifest import MANIFEST_BODY, MAX_PARTS, OCI_INDEX, OCI_MANIFEST

NO_DIGEST: Final = with_header("Docker-Content-Digest")
MOST: Final = 16.0
"""MiB."""

pytestmark = pytest.mark.skipif(not growth.STATUS.exists(), reason="only Linux tells what a process holds")


def document(item: str, *, key: str = "manifests", media_type: str = OCI_INDEX, most: int = MANIFEST_BODY) -> Fault:
    """As many of these as fit into what is read of a manifest."""
    head = json.dumps({"schemaVersion": 2, "mediaType": media_type, key: []}).removesuffix("]}")
    many = ",".join([item] * min(most, (MANIFEST_BODY - len(head) - 2) // (len(item) + 1)))
    return together(NO_DIGEST, with_body(f"{head}{many}]}}".encode(), media_type))


def dripping(asked: Asked, answer: Answer) -> Answer:
    return sent_as(wire.drip)(asked, NO_DIGEST(asked, answer))


@cache
def cases() -> Mapping[str, Fault]:
    """Made when they are wanted: some are megabytes."""
    return {
        "bomb": together(NO_DIGEST, bombed),
        "endless-body": together(NO_DIGEST, sent_as(wire.endless_body)),
        "endless-error": together(with_status(503), sent_as(wire.endless_body)),
        "ten-gigabytes": together(
            NO_DIGEST, with_header("Content-Length", str(10**10)), with_body(b" " * MANIFEST_BODY), sent_as(wire.half)
        ),
        "drip": dripping,
        "endless-headers": sent_as(wire.endless_headers),
        "endless-header": sent_as(wire.endless_header),
        "endless-patience": sent_as(wire.endless_patience),
        "empty-children": document("{}"),
        "many-children": document("{}", most=MAX_PARTS - 1),
        "empty-layers": document("{}", key="layers", media_type=OCI_MANIFEST),
        "nested-lists": document("[]", key="fsLayers", media_type=OCI_MANIFEST),
        "numbers": document("1", key="fsLayers"),
        "texts": document('""'),
        "brackets": together(NO_DIGEST, with_body(b"[" * MANIFEST_BODY)),
        "one-long-text": together(NO_DIGEST, with_body(b'{"mediaType":"' + b"x" * (MANIFEST_BODY - 20) + b'"}')),
        "long-challenge": with_status(401, *[("WWW-Authenticate", f'Bearer realm="{"x" * 7000}"')] * 20),
        "long-warnings": with_header("Warning", *[f'299 - "{"x" * 7000}"'] * 20),
    }


async def grown(times: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each case did."""
    async with fake_registry() as fake:
        fake.push(path=growth.GOOD)

        def fault(asked: Asked, answer: Answer) -> Answer:
            wanted = cases().get(asked.path.split("/")[2])
            if wanted is None:
                return answer
            right = Answer(200, (("Content-Type", OCI_MANIFEST),), image_document().body)
            told = wanted(asked, right)
            return Answer(told.status, told.headers, told.body, told.wire, asked.method == "HEAD")

        fake.faults["manifest"] = fault
        command = (sys.executable, "-m", "tests.support.growth", fake.host, str(times), *names)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        told, _ = await process.communicate()
        assert process.returncode == 0
        lines = [json.loads(line) for line in told.splitlines()]
        return {line["case"]: line for line in lines}


async def test_no_answer_fills_memory() -> None:
    seen = await grown(1, list(cases()))
    assert list(seen) == list(cases())
    assert {name: one["growth"] for name, one in seen.items() if one["growth"] > MOST} == {}
    assert [name for name, one in seen.items() if one["told"] == ["Known"]] == ["many-children", "long-warnings"]


async def test_many_large_answers_of_one_registry_are_read_one_after_the_other() -> None:
    seen = await grown(32, ["endless-body", "nested-lists"])
    assert {name: one["growth"] for name, one in seen.items() if one["growth"] > 3 * MOST} == {}
