"""Which hosts may be contacted, and where their tokens may come from."""

import pytest

from webhook.core.hosts import Registries, Registry

REGISTRIES = Registries(
    [
        Registry("registry.example.com", realms=("auth.example.com",)),
        Registry("*.dkr.ecr.*.amazonaws.com"),
        Registry("localhost:5000"),
        Registry("docker.io"),
    ]
)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("registry.example.com", True),
        ("registry.example.com:443", None),
        ("localhost:5000", True),
        ("localhost", None),
        ("localhost:5001", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", False),
        ("a.b.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("dkr.ecr.eu-west-1.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com:8443", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.io", None),
        ("evil.io", None),
        ("", None),
    ],
)
def test_only_listed_hosts_are_found(host: str, listed: bool | None) -> None:
    found = REGISTRIES.find(host)
    assert (found.listed if found else None) is listed
    assert found is None or found.host == host


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        (Registry("registry.example.com"), "registry.example.com", True),
        (Registry("registry.example.com"), "registry.example.com:8443", False),
        (Registry("registry.example.com"), "auth.example.com", False),
        (Registry("registry.example.com", realms=("auth.example.com",)), "auth.example.com", True),
        (Registry("docker.io"), "auth.docker.io", True),
        (Registry("docker.io"), "registry-1.docker.io", True),
        (Registry("registry.example.com"), "auth.docker.io", False),
        (Registry("registry.gitlab.com"), "gitlab.com", True),
        (Registry("registry.example.com"), "169.254.169.254", False),
    ],
)
def test_tokens_come_from_the_registry_itself_or_a_listed_pair(registry: Registry, realm: str, allowed: bool) -> None:
    assert registry.may_issue_tokens(realm) is allowed


def test_docker_io_is_dialled_where_it_lives() -> None:
    assert Registry("docker.io").endpoint == "registry-1.docker.io"
    assert Registry("registry.example.com").endpoint == "registry.example.com"
