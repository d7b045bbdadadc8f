"""The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""

import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import trustme

from tests.cluster.real import DIRECTORY, LOGS
from tests.cluster.real.api import Api
from tests.cluster.real.processes import Processes
from tests.parts import part
from tests.support.ports import lasting_ports

NODE: Final = "node1"
SERVICES: Final = "10.96.0.0/16"

_USERS: Final[Mapping[str, tuple[str, str]]] = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
}
"""Each part's user and groups, with the rights that Kubernetes gives to these names."""

_AUDIT: Final[Mapping[str, Any]] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
"""Who asked for what is written down for service accounts that are not Kubernetes' own."""

# The usual 20 calls a second take 4 s for what starts a cluster.
_QUICK: Final = ("--kube-api-qps=1000", "--kube-api-burst=1000")
_CLOUD: Final = "--controllers=*,-cloud-node-lifecycle,-service-lb-controller,-node-route-controller"


class Running(msgspec.Struct, frozen=True):
    """A cluster that runs. `api` and `kubeconfig` are the administrator's; its files and logs are in the folder."""

    api: Api
    folder: Path
    logs: Path

    @classmethod
    def around(cls, environ: Mapping[str, str]) -> Self:
        """The one in which this process was started, as `environ` says."""
        folder = Path(environ[DIRECTORY])
        return cls(Api.from_kubeconfig(folder / "admin.kubeconfig"), folder, Path(environ[LOGS]))

    @property
    def environ(self) -> dict[str, str]:
        """What a process is told that is started in it."""
        return {"KUBECONFIG": str(self.kubeconfig), DIRECTORY: str(self.folder), LOGS: str(self.logs)}

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    @property
    def audit(self) -> Path:
        """What service accounts asked, a JSON object a line."""
        return audit_of(self.folder)


def audit_of(folder: Path) -> Path:
    """Where the API server of a cluster writes what service accounts asked."""
    return folder / "audit.log"


@contextmanager
def control_plane(*, logs: Path | None = None) -> Iterator[Running]:
    """A control plane on loopback that answers, as any user; its data goes with it."""
    with tempfile.TemporaryDirectory(prefix="moorage-cluster-") as name:
        folder = Path(name)
        with Processes.ended_after(logs or folder / "logs") as processes:
            api = start_apiserver(processes, folder, "127.0.0.1", ("--endpoint-reconciler-type=none",))
            try:
                start_controllers(processes, folder, api)
                yield Running(api, folder, processes.logs)
            finally:
                api.close()


def start_apiserver(processes: Processes, folder: Path, address: str, more: Sequence[str]) -> Api:
    """Start etcd and kube-apiserver and write everyone's kubeconfig; the administrator's API, once it answers."""
    etcd, peer, port = lasting_ports(3)
    apis = _write_identities(folder, address, port)
    (folder / "audit.json").write_text(json.dumps(_AUDIT))
    processes.run(
        "etcd",
        part("cluster"),
        "etcd",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{etcd}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    processes.run(
        "apiserver",
        part("cluster"),
        "apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        f"--tls-cert-file={folder}/apiserver.crt",
        f"--tls-private-key-file={folder}/apiserver.key",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/service-account.key",
        f"--service-account-signing-key-file={folder}/service-account.key",
        f"--service-cluster-ip-range={SERVICES}",
        f"--audit-policy-file={folder}/audit.json",
        f"--audit-log-path={audit_of(folder)}",
        "--allow-privileged=true",
        *more,
    )
    processes.wait("kube-apiserver is ready", lambda: apis["admin"].answers("/readyz"))
    return apis["admin"]


def start_controllers(processes: Processes, folder: Path, api: Api) -> None:
    """Start kube-controller-manager and kube-scheduler; returns when Pods can be created in `default`."""
    manager, scheduler = lasting_ports(2)
    processes.run(
        "controller-manager",
        part("cluster"),
        "controller-manager",
        f"--kubeconfig={folder}/controller-manager.kubeconfig",
        f"--service-account-private-key-file={folder}/service-account.key",
        f"--root-ca-file={api.ca}",
        "--use-service-account-credentials",
        *_QUICK,
        _CLOUD,
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={manager}",
        f"--cert-dir={folder}/pki-manager",
    )
    processes.run(
        "scheduler",
        part("cluster"),
        "scheduler",
        f"--kubeconfig={folder}/scheduler.kubeconfig",
        *_QUICK,
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={scheduler}",
        f"--cert-dir={folder}/pki-scheduler",
    )
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    processes.wait("the default service account exists", lambda: api.answers(account))


def _write_identities(folder: Path, address: str, port: int) -> Mapping[str, Api]:
    """Certificates, the key of service accounts, tokens and a kubeconfig for each user."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.crt"))
    names = (address, "localhost", "kubernetes.default.svc", SERVICES.replace("0.0/16", "0.1"))
    _write(ca.issue_cert(*names), folder, "apiserver")
    # With a name, or the kubelet meets an empty critical extension, and refuses it.
    kubelet_client = ca.issue_cert("apiserver.test", common_name="apiserver", organization_name="system:masters")
    _write(kubelet_client, folder, "kubelet-client")
    trustme.CA().private_key_pem.write_to_path(str(folder / "service-account.key"))
    apis = {who: Api(f"https://{address}:{port}", folder / "ca.crt", secrets.token_hex(16)) for who in _USERS}
    for who, api in apis.items():
        api.write_kubeconfig(folder / f"{who}.kubeconfig")
    tokens = (f'{apis[who].token},{user},{user},"{groups}"\n' for who, (user, groups) in _USERS.items())
    (folder / "tokens.csv").write_text("".join(tokens))
    return apis


def _write(certificate: trustme.LeafCert, folder: Path, name: str) -> None:
    certificate.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(folder / f"{name}.crt"), append=True)
