"""What Pods show, held against what the registration trusts."""

from datetime import UTC, datetime, timedelta

import pytest
import trustme

from webhook.certificates import distrust, new_authority, new_leaf
from webhook.diagnosis.certificate import DAY, Shown, judge, judge_loaded
from webhook.diagnosis.finding import Level, Unseen
from webhook.diagnosis.install import Told

NAME = "moorage.moorage-system.svc"
NOW = datetime.now(UTC)
OURS = trustme.CA()
OTHER = trustme.CA()
AUTHORITY = new_authority(NOW)
LEAF = new_leaf(AUTHORITY, [NAME], NOW)


def chain(authority: trustme.CA, *names: str) -> bytes:
    return b"".join(pem.bytes() for pem in authority.issue_cert(*names or (NAME,)).cert_chain_pems)


def bundle(*authorities: trustme.CA) -> bytes:
    return b"".join(one.cert_pem.bytes() for one in authorities)


@pytest.mark.parametrize(
    ("shown", "trusted", "after", "why"),
    [
        (chain(OURS), bundle(OURS), 0, ""),
        (chain(OURS), bundle(OTHER, OURS), 0, ""),
        (chain(OURS.create_child_ca()), bundle(OURS), 0, ""),
        (chain(OURS), bundle(OTHER), 0, "no authority in the bundle that is valid has signed it"),
        (chain(OURS), b"", 0, "no authority in the bundle that is valid has signed it"),
        (chain(OURS, "moorage.other.svc"), bundle(OURS), 0, f"is for moorage.other.svc, and not for {NAME}"),
        (LEAF.certificate.encode(), AUTHORITY.certificate.encode(), 29, ""),
        (LEAF.certificate.encode(), AUTHORITY.certificate.encode(), 31, "the certificate is valid from"),
        (b"nonsense", bundle(OURS), 0, "the certificate is not PEM"),
    ],
)
def test_whom_callers_believe(shown: bytes, trusted: bytes, after: int, why: str) -> None:
    told = distrust(shown, trusted, name=NAME, now=NOW + timedelta(days=after))
    assert why in told
    assert bool(told) is bool(why)


@pytest.mark.parametrize(
    ("shown", "level", "said"),
    [
        ({"a": Shown(20 * DAY), "b": Shown(25 * DAY)}, Level.OK, "what 2 Pods show, for 20 more days"),
        ({"a": Shown(20 * DAY), "b": Shown(2.5 * DAY)}, Level.WARNING, "it ends in 2.5 days"),
        ({"a": Shown(20 * DAY), "b": Shown(0, "expired")}, Level.ERROR, "does not take what b shows: expired"),
        ({"a": Shown(0, "expired"), "b": Shown(0, "expired")}, Level.ERROR, "what a, b shows: expired"),
    ],
)
def test_one_line_says_how_it_is(shown: dict[str, Shown], level: Level, said: str) -> None:
    (found,) = judge(shown, NAME, 0.0)
    assert (found.level, said in found.found) == (level, True), found


def test_where_no_pod_says_anything_nothing_is_said() -> None:
    assert list(judge({}, NAME, 0.0)) == []


LOADED = "moorage_certificate_reload_success 1.0\nmoorage_certificates_kept 1.0\n"


@pytest.mark.parametrize(
    ("metrics", "said", "line"),
    [
        ("moorage_certificate_reload_success 0.0\n", "b cannot use it; what was shown before still is", "not loaded"),
        ("moorage_certificates_kept 0.0\n", "b is to keep them right, and cannot", "certificates not kept"),
    ],
)
def test_what_a_pod_could_not_take_in_or_keep_right_is_told_with_the_line_of_its_log(
    metrics: str, said: str, line: str
) -> None:
    (found,) = judge_loaded({"a": Told(LOADED), "b": Told(metrics), "c": Unseen("", "hangs")})
    assert (found.level, said in found.found) == (Level.ERROR, True), found
    assert "logs b:" in found.advice
    assert line in found.advice


def test_who_has_taken_it_in_or_says_nothing_is_not_told_of() -> None:
    assert list(judge_loaded({"a": Told(LOADED), "b": Told(""), "c": Unseen("", "hangs")})) == []
