"""The shipped alerts, as Prometheus itself judges them, and the metrics that they ask for."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.manifests import DEPLOY, objects
from tests.parts import part
from webhook.core.decision import Action
from webhook.core.reason import Reason

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parents[1] / "docs" / "metrics.md"
(RULES,) = (one["spec"] for one in objects((DEPLOY / "components/prometheus-operator/rules.yaml").read_text()))
ALERTS: Final[list[dict[str, Any]]] = [rule for group in RULES["groups"] for rule in group["rules"]]
CASES: Final = yaml.safe_load((HERE / "alerts.yaml").read_text())


@pytest.mark.parts
def test_each_alert_fires_when_it_should_and_then_only(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({**CASES, "rule_files": ["rules.yaml"]}))
    for words in (("check", "rules", "rules.yaml"), ("test", "rules", "tests.yaml")):
        done = subprocess.run([part("promtool"), *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_is_tested_both_ways_and_told_of(alert: dict[str, Any]) -> None:
    asked = [one for case in CASES["tests"] for one in case["alert_rule_test"] if one["alertname"] == alert["alert"]]
    assert {bool(one.get("exp_alerts")) for one in asked} == {True, False}
    assert f"`{alert['alert']}`" in (DEPLOY / "README.md").read_text()
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_asks_for_metrics_that_there_are(alert: dict[str, Any]) -> None:
    for name in re.findall(r"moorage_\w+", alert["expr"]):
        assert f"`{name.removesuffix('_bucket')}`" in PAGE.read_text()


@pytest.mark.parametrize("label", [Action, Reason], ids=lambda label: str(label.__name__))
def test_words_in_alerts_and_in_their_tests_are_words_of_moorage(label: type[Action] | type[Reason]) -> None:
    texts = [alert["expr"] for alert in ALERTS] + [str(CASES)]
    found = re.findall(rf'\b{label.__name__.lower()}(?:=|!=|=~|!~)"([\w|]+)"', "".join(texts))
    assert found
    assert {word for one in found for word in one.split("|")} <= {one.value for one in label}
