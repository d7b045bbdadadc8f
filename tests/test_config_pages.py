import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_config import DIGEST, EVERYTHING, PEM
from webhook import lock
from webhook.config import SMALLEST, load
from webhook.reference_pages import pages
from webhook.schema import json_schema, schema_text
from webhook.show import shown

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("path", [path for path, _ in pages(DOCS)], ids=lambda path: path.name)
def test_generated_pages_say_what_the_code_does(path: Path) -> None:
    assert path.read_text() == dict(pages(DOCS))[path], "run python -m webhook.reference_pages"


def test_the_schema_is_of_the_draft_that_editors_read() -> None:
    whole = json_schema()
    assert whole["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$defs" not in json.dumps(whole)
    assert "prefixItems" not in json.dumps(whole)


def test_every_setting_is_described() -> None:
    whole = json_schema()
    for body in (whole, *whole["definitions"].values()):
        assert body["description"]
        assert all(key.get("description") for key in body["properties"].values())


def checked(tmp_path: Path, *texts: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "schema.json").write_text(schema_text())
    names = []
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text)
        names.append(str(tmp_path / f"{number}.yaml"))
    program = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "-o",
        "json",
        "--schemafile",
        str(tmp_path / "schema.json"),
        *names,
    ]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_the_schema_takes_what_we_take(tmp_path: Path) -> None:
    done = checked(tmp_path, SMALLEST, EVERYTHING)
    assert done.returncode == 0, done.stdout


def test_the_schema_refuses_what_we_refuse(tmp_path: Path) -> None:
    wrong = [
        "zzz: 1\n",
        "resolving: {fresh: 30}\n",
        "vars: {a: [1]}\n",
        "registries: {r.io: {credentials: [pods]}}\n",
        "registries: {r.io: {credentials: [{namespaces: ['*']}]}}\n",
        "targets: {t: {image: x, verify: maybe}}\n",
    ]
    done = checked(tmp_path, *(SMALLEST + one for one in wrong))
    refused = {Path(error["filename"]).name for error in json.loads(done.stdout)["errors"]}
    assert refused == {f"{number}.yaml" for number in range(len(wrong))}


@pytest.mark.parametrize("text", [SMALLEST, EVERYTHING], ids=["smallest", "everything"])
def test_what_is_shown_means_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "corporate.pem").write_text(PEM)
    (tmp_path / "docker.json").write_text("{}")
    (tmp_path / "lock.yaml").write_text(lock.written({"docker.io/library/app:1": DIGEST}))
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(text)
    one = load(first, environ={"MOORAGE_VAR_REGION": "us-east-1"})
    second.write_text(shown(one))
    two = load(second, environ={})
    for name in ("rules", "targets", "locked", "templates"):
        assert getattr(one.rules, name) == getattr(two.rules, name)
    assert one.registries.literal == two.registries.literal
    assert one.resolving == two.resolving


def test_what_is_shown_has_the_defaults_of_each_rule(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(SMALLEST + "defaults: {onFailure: refuse}\n")
    (rule,) = yaml.safe_load(shown(load(path, environ={})))["rules"]
    assert (rule["pin"], rule["write"], rule["onFailure"], rule["percent"]) == ("rollout", "digest", "refuse", 100)


def configurations_in_docs() -> list[Any]:
    blocks = [
        (page.name, block)
        for page in sorted(DOCS.glob("*.md"))
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
        if "kind: Configuration" in block
    ]
    return [pytest.param(block, id=f"{name}-{number}") for number, (name, block) in enumerate(blocks)]


@pytest.mark.parametrize("block", configurations_in_docs())
def test_configurations_in_the_docs_work(block: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(block)
    load(tmp_path / "m.yaml", environ={})


def test_a_lock_file_is_read_as_it_was_written() -> None:
    locked = {"docker.io/library/app:1.10": DIGEST, "r.io/x:latest": DIGEST}
    assert lock.read(lock.written(locked), "lock.yaml") == (locked, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "lock.yaml:1:1: the file must map names to digests"),
        ("a: b: c\n", "lock.yaml:1:5: a colon where none may stand; indent it or put quotes around the text"),
        (f"a: {DIGEST}\na: {DIGEST}\n", 'lock.yaml:2:1: the key "a" stands here twice; first on line 1, column 1'),
        (f"a: {DIGEST}\ndocker.io/a: {DIGEST[:-1]}b\n", "lock.yaml:2:1: docker.io/library/a:latest is locked to another digest above"),
        (f"a@{DIGEST}: {DIGEST}\n", "lock.yaml:1:1: a name with a digest needs no lock"),
        ("a: sha256:12\n", "lock.yaml:1:4: this is no whole digest, as sha256: and 64 hexadecimal digits"),
        ("a:\n", "lock.yaml:1:3: this is no whole digest, as sha256: and 64 hexadecimal digits"),
    ],
)  # fmt: skip
def test_tells_mistakes_of_the_lock_file(text: str, message: str) -> None:
    assert [str(one) for one in lock.read(text, "lock.yaml")[1]] == [message]
