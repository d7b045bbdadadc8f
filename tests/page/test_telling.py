"""What is told of states that a server is rarely in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from webhook.config import load
from webhook.core.rules import Requirement
from webhook.page import telling
from webhook.page.recent import Recent
from webhook.page.telling import Counts, Numbers, Sources
from webhook.telemetry import Telemetry

DAY = 86_400.0
NOW = 1_800_000_000.0
CONFIG = """\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  "*.dkr.ecr.eu-west-1.amazonaws.com": {credentials: [anonymous]}
targets:
  kraken: {image: "localhost:30081/{path}", health: {url: "http://kraken.kraken.svc", interval: 10s}}
  regional: {image: "eu.example.net/{path}", verify: digest}
rules:
  - name: one
    images: [registry.example.com/**]
    targets: [kraken, regional]
    podSelector: {matchLabels: {tier: web}}
    namespaceSelector: {matchLabels: {team: a}}
"""


class Shown(msgspec.Struct, frozen=True):
    """As much of a certificate as is told."""

    starts: float
    expires: float
    names: frozenset[str] = frozenset({"moorage.moorage-system.svc"})


def sources(folder: Path, **known: Any) -> Sources:
    (folder / "moorage.yaml").write_text(CONFIG)
    loaded = load(folder / "moorage.yaml", environ={})
    counts: dict[str, Callable[[], Counts]] = dict.fromkeys(Numbers.__struct_fields__, dict)
    numbers = Numbers(**counts | known.pop("numbers", {}))
    usual: dict[str, Any] = {
        "loaded": lambda: loaded,
        "problems": list,
        "warnings": list,
        "shown": lambda: None,
        "findings": list,
        "breaker": lambda _: None,
        "others": lambda: False,
        "numbers": numbers,
        "recent": Recent(Telemetry()),
        "wall": lambda: NOW,
    }
    return Sources(**usual | known)


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        (Shown(NOW - DAY, NOW + 30 * DAY), "valid"),
        (Shown(NOW - DAY, NOW + 6 * DAY), "expires soon"),
        (Shown(NOW - DAY, NOW), "expired"),
        (Shown(NOW + 1, NOW + 30 * DAY), "not valid yet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_the_certificate_is(shown: Shown, state: str, tmp_path: Path) -> None:
    told = telling.status(sources(tmp_path, shown=lambda: shown), {}, started=NOW).certificate
    assert told is not None
    assert (told.state, told.names) == (state, ["moorage.moorage-system.svc"])


def test_without_a_certificate_none_is_told_and_it_is_not_ready(tmp_path: Path) -> None:
    told = telling.status(sources(tmp_path), {"tls": "there is no certificate yet"}, started=NOW)
    assert (told.certificate, told.ready, told.time) == (None, False, "2027-01-15T08:00:00Z")


@pytest.mark.parametrize(("value", "covers"), [({}, None), ({(): 1.0}, True), ({(): 0.0}, False)])
def test_what_the_registration_covers(
    value: Mapping[tuple[str, ...], float], covers: bool | None, tmp_path: Path
) -> None:
    known = sources(tmp_path, numbers={"covers": lambda: value}, findings=lambda: ["a gap"])
    told = telling.status(known, {}, started=NOW).registration
    assert (told.covers, told.findings) == (covers, ["a gap"])


@pytest.mark.parametrize(("known", "health"), [(None, "unknown"), (True, "healthy"), (False, "unhealthy")])
def test_how_a_target_is_that_the_configuration_gates_on(known: bool | None, health: str, tmp_path: Path) -> None:
    kraken, regional = telling.targets(sources(tmp_path, healthy=lambda _: known)).targets
    assert (kraken.health, regional.health) == (health, "unwatched")
    assert (kraken.verify, regional.verify) == ("off", "digest")


def test_hosts_of_a_pattern_are_told_together(tmp_path: Path) -> None:
    requests = {("other", "HEAD", "200"): 3.0, ("registry.example.com", "GET", "404"): 1.0}
    known = sources(tmp_path, numbers={"requests": lambda: requests}, others=lambda: True)
    told = {one.host: one for one in telling.registries(known).registries}
    pattern = told["*.dkr.ecr.eu-west-1.amazonaws.com"]
    assert (pattern.breaker, pattern.reason, pattern.answers) == ("open", None, {"200": 3})
    assert (told["registry.example.com"].breaker, told["registry.example.com"].answers) == ("closed", {"404": 1})


def test_selectors_are_told_as_kubectl_writes_them(tmp_path: Path) -> None:
    (rule,) = telling.rules(sources(tmp_path)).rules
    assert (rule.pod_selector, rule.namespace_selector) == (["tier in (web)"], ["team in (a)"])
    rows = {"k notin (a, b)": Requirement("k", "NotIn", ("a", "b")), "k": Requirement("k", "Exists")}
    rows["!k"] = Requirement("k", "DoesNotExist")
    assert {text: telling.requirement(one) for text, one in rows.items()} == {text: text for text in rows}
