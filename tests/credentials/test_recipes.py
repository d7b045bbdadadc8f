"""Every recipe of docs/credentials.md as it stands there: its configuration, its docker config, and a registry that does
what its vendor's does."""

import json
import re
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.support.cloud import served
from tests.support.stack import Stack
from tests.support.vendors import VENDORS, Shop
from webhook.config import load
from webhook.core.hosts import Registry

PAGE: Final = (Path(__file__).parents[2] / "docs" / "credentials.md").read_text()
LOGIN: Final = re.compile(r'"username": "([^"]+)", "password": "([^"]+)"')


def recipe(name: str) -> tuple[str, str]:
    """The configuration and the docker config under a heading."""
    text = PAGE.split(f"### {name}\n")[1].split("\n##")[0]
    (configuration,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (docker,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return configuration, docker


def test_every_registry_with_a_login_of_its_own_has_a_vendor() -> None:
    section = PAGE.split("## Registries with a login of their own\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^### (.+)$", section, re.MULTILINE)) == set(VENDORS)


@pytest.mark.parametrize("name", VENDORS)
async def test_a_recipe_works_as_it_is_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration, docker = recipe(name)
    (tmp_path / "moorage.yaml").write_text(configuration)
    (tmp_path / "docker.json").write_text(docker)
    user, password = LOGIN.findall(json.dumps(json.loads(docker)))[0]
    loaded = load(tmp_path / "moorage.yaml", environ={})
    assert loaded.warnings == ()
    (rule,) = loaded.rules.rules
    place = rule.images.patterns[0].removesuffix("/**")
    path = f"{place.partition('/')[2]}/app"
    shop = Shop(VENDORS[name], user, password, path)
    with served(shop, monkeypatch, tmp_path) as front:
        ca = front.authority.cert_pem.bytes().decode()
        # A token server that is built in has no entry of its own; here it needs one to be on loopback.
        issuer = Registry(VENDORS[name].realm.split("/")[2])
        found = {issuer.host: issuer, **loaded.registries.literal}.values()
        stack = Stack(*loaded.rules.rules)
        await stack.open([msgspec.structs.replace(one, ca=ca, allow_loopback=True) for one in found], front)
        try:
            seen = await stack.admit(f"{place}/app:stable")
            assert seen.images == [f"localhost:30081/{path}@{shop.document.digest}"], seen.warnings
            # A path that the recipe does not grant gets no login.
            await stack.admit(f"{place.partition('/')[0]}/other/app:stable")
            assert not [one for one in shop.asked if "/other/" in one.path and "authorization" in one.headers]
            shown = stack.shown() + json.dumps(seen.pod)
        finally:
            await stack.close()
    assert password not in shown
