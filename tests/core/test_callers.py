"""The names of client certificates: which of them may call, and how they are told."""

from typing import Any

import pytest

from webhook.core.callers import Allowed, names_of


def certificate(*common: str, dns: tuple[str, ...] = (), **more: str) -> dict[str, Any]:
    """As `ssl` tells of one."""
    others = (("IP Address", "10.0.0.1"), ("URI", "spiffe://kube-apiserver"), ("email", "kube-apiserver"))
    return {
        "subject": ((("organizationName", "system:masters"),), *(((("commonName", one),)) for one in common)),
        "subjectAltName": (*(("DNS", one) for one in dns), *others),
    }


MAY = [
    ("a common name", certificate("kube-apiserver")),
    ("a DNS name", certificate("other", dns=("one.test", "kube-apiserver"))),
    ("a DNS name in other letters", certificate("other", dns=("Kube-APIserver",))),
    ("no common name", certificate(dns=("kube-apiserver",))),
    ("the last one of two common names", certificate("other", "kube-apiserver")),
]
MAY_NOT = [
    ("no certificate", None),
    ("no name", {}),
    ("an empty name", certificate("", dns=("",))),
    ("another name", certificate("other", dns=("one.test",))),
    ("a common name in other letters", certificate("Kube-apiserver")),
    ("the first one of two common names", certificate("kube-apiserver", "other")),
    ("a longer one", certificate("kube-apiserver.example.com", dns=("kube-apiserver.test",))),
    ("one that ends with it", certificate("x.kube-apiserver", dns=("not-kube-apiserver",))),
    ("a star", certificate("*", dns=("*", "*.test"))),
    ("what stands behind a zero byte", certificate("kube-apiserver\0.example.com")),
    ("an organization", {"subject": ((("organizationName", "kube-apiserver"),),)}),
    ("an address and the like", certificate("other")),
]


@pytest.mark.parametrize("given", [row[1] for row in MAY], ids=[row[0] for row in MAY])
def test_who_bears_the_name_may_call(given: dict[str, Any]) -> None:
    assert Allowed(frozenset({"front-proxy", "kube-apiserver"})).admits(names_of(given))


def test_it_does_not_matter_in_which_letters_a_dns_name_is_allowed() -> None:
    assert Allowed(frozenset({"Kube-APIserver"})).admits(names_of(certificate("other", dns=("kube-apiserver",))))


@pytest.mark.parametrize("given", [row[1] for row in MAY_NOT], ids=[row[0] for row in MAY_NOT])
def test_nobody_else_may(given: dict[str, Any] | None) -> None:
    assert not Allowed(frozenset({"front-proxy", "kube-apiserver"})).admits(names_of(given))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (certificate("system:node:a", dns=("a.test",)), "system:node:a, a.test"),
        (certificate("a\n\x1b[31mb\u202e\u00e9"), "a??[31mb??"),
        (certificate("x" * 1000), "x" * 64),
        (certificate("a", dns=tuple(f"{number}.test" for number in range(100))), "a, 0.test, 1.test"),
        (None, ""),
    ],
)
def test_names_are_told_short_and_in_letters_that_do_no_harm(given: dict[str, Any] | None, shown: str) -> None:
    assert str(names_of(given)) == shown
