"""How the API server is reached: from within a Pod, and by a kubeconfig."""

import json
from pathlib import Path

import pytest

from tests.doors import Clock
from tests.support.canary import marked
from webhook.access import REREAD, NoCluster, of_kubeconfig, of_pod

INSIDE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(marked("canary-of-the-token") + "\n")
    (tmp_path / "ca.crt").write_text("PEM")
    return tmp_path


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        (INSIDE, "https://10.96.0.1:443"),
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://[fd00::1]:6443"),
    ],
)
def test_within_a_pod(account: Path, environ: dict[str, str], host: str) -> None:
    access = of_pod(environ, account)
    assert access.host == host
    assert access.ca == str(account / "ca.crt")
    assert access.headers() == {"Authorization": f"Bearer {marked('canary-of-the-token')}"}
    assert "canary" not in repr(access)


def test_a_token_that_the_kubelet_replaces_is_read_again(account: Path) -> None:
    clock = Clock()
    access = of_pod(INSIDE, account, now=clock)
    (account / "token").write_text("new")
    assert access.headers() == {"Authorization": f"Bearer {marked('canary-of-the-token')}"}
    clock.forward(REREAD)
    assert access.headers() == {"Authorization": "Bearer new"}


@pytest.mark.parametrize("break_it", [Path.unlink, lambda file: file.write_text("")], ids=["gone", "half written"])
def test_a_token_that_cannot_be_read_for_a_moment_is_used_on(account: Path, break_it: object) -> None:
    clock = Clock()
    access = of_pod(INSIDE, account, now=clock)
    assert callable(break_it)
    break_it(account / "token")
    clock.forward(REREAD)
    assert access.headers() == {"Authorization": f"Bearer {marked('canary-of-the-token')}"}


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_pod_without_a_token_is_told_what_to_do(account: Path, missing: str) -> None:
    (account / missing).unlink()
    with pytest.raises(NoCluster, match="automountServiceAccountToken"):
        of_pod(INSIDE, account)


def test_what_is_no_pod_has_no_cluster(account: Path) -> None:
    with pytest.raises(NoCluster):
        of_pod({}, account)


def config(tmp_path: Path, **user: str) -> Path:
    file = tmp_path / "kubeconfig"
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority": "ca.crt", "tls-server-name": "kubernetes"}
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "a", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "one", "context": {"cluster": "a", "user": "u"}}],
                "current-context": "one",
            }
        )
    )
    return file


def test_by_a_kubeconfig(account: Path) -> None:
    access = of_kubeconfig(config(account, token=marked("canary-of-the-token")))
    assert (access.host, access.ca, access.name) == ("https://127.0.0.1:6443", str(account / "ca.crt"), "kubernetes")
    assert access.headers() == {"authorization": f"Bearer {marked('canary-of-the-token')}"}
    assert "canary" not in repr(access)


def test_a_context_is_chosen_by_name(account: Path) -> None:
    file = config(account, token="t")
    assert of_kubeconfig(file, "one").host == "https://127.0.0.1:6443"
    with pytest.raises(NoCluster, match="leads to no cluster"):
        of_kubeconfig(file, "two")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"clusters": []}'])
def test_a_file_that_is_no_kubeconfig_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(NoCluster, match="leads to no cluster"):
        of_kubeconfig(file)


def test_a_text_that_is_no_kubeconfig_is_told_without_a_word_of_python(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("some words\n")
    with pytest.raises(NoCluster, match="leads to no cluster: it is no kubeconfig"):
        of_kubeconfig(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoCluster, match="leads to no cluster"):
        of_kubeconfig(tmp_path / "nosuch")
