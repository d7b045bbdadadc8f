"""The distribution registry on loopback, and images pushed to it through its own API."""

import re
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any, Final, TextIO

import httpx
import msgspec

from tests.parts import part

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

_CONFIG: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
}
_LAYER: Final = {
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar",
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar",
}
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


class RealRegistry:
    """A running registry."""

    def __init__(self, process: "subprocess.Popen[str]", host: str, client: httpx.Client) -> None:
        self.host = host
        self._process = process
        self._client = client

    def push_image(self, path: str, tag: str, media_type: str = OCI_MANIFEST, *, architecture: str = "amd64") -> str:
        """Push an image of one platform and return the digest of its manifest."""
        layer = f"{path} {tag} {architecture}".encode()
        root = {"type": "layers", "diff_ids": [_digest(layer)]}
        config = msgspec.json.encode({"architecture": architecture, "os": "linux", "rootfs": root})
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self._push_blob(path, config, _CONFIG[media_type]),
            "layers": [self._push_blob(path, layer, _LAYER[media_type])],
        }
        return self._push_manifest(path, tag, media_type, manifest)

    def push_index(self, path: str, tag: str, media_type: str = OCI_INDEX) -> tuple[str, Mapping[str, str]]:
        """Push an image of two platforms; return the digest of its index and those of its children by platform."""
        child_type = OCI_MANIFEST if media_type == OCI_INDEX else DOCKER_MANIFEST
        children = {
            name: self.push_image(path, f"{tag}-{name}", child_type, architecture=name) for name in ("amd64", "arm64")
        }
        entries = [
            {
                "mediaType": child_type,
                "size": self._size(path, child, child_type),
                "digest": child,
                "platform": {"os": "linux", "architecture": name},
            }
            for name, child in children.items()
        ]
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
        return self._push_manifest(path, tag, media_type, index), children

    def stop(self) -> None:
        """End the process, as in an outage."""
        self._process.terminate()
        self._process.wait(timeout=10)

    def _push_blob(self, path: str, content: bytes, media_type: str) -> dict[str, Any]:
        begun = self._client.post(f"/v2/{path}/blobs/uploads/").raise_for_status()
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": _digest(content)})
        self._client.put(place, content=content).raise_for_status()
        return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}

    def _push_manifest(self, path: str, tag: str, media_type: str, manifest: Mapping[str, Any]) -> str:
        content = msgspec.json.encode(manifest)
        headers = {"Content-Type": media_type}
        self._client.put(f"/v2/{path}/manifests/{tag}", content=content, headers=headers).raise_for_status()
        return _digest(content)

    def _size(self, path: str, digest: str, media_type: str) -> int:
        answer = self._client.get(f"/v2/{path}/manifests/{digest}", headers={"Accept": media_type})
        return len(answer.raise_for_status().content)


@contextmanager
def running(
    folder: Path,
    *,
    auth: Mapping[str, Any] | None = None,
    tls: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | bool = True,
    login: Callable[[httpx.Request], httpx.Request] | tuple[str, str] | None = None,
    keep: Path | None = None,
) -> Iterator[RealRegistry]:
    """A registry for as long as the block lasts; `auth` and `tls` are its settings, `login` and `verify` ours.

    What is pushed is forgotten at the end, unless there is a folder to `keep` it in for the next one.
    """
    storage = {"inmemory": {}} if keep is None else {"filesystem": {"rootdirectory": str(keep)}}
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {**storage, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "secret": "only a test", **({"tls": dict(tls)} if tls else {})},
    }
    if auth is not None:
        settings["auth"] = auth
    # JSON is YAML, so the registry reads it.
    file = folder / "registry.yml"
    file.write_bytes(msgspec.json.encode(settings))
    process = subprocess.Popen(
        [part("registry"), "serve", file],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={"OTEL_TRACES_EXPORTER": "none"},
    )
    reading: list[Thread] = []
    try:
        host = _listening_host(process, reading)
        base = f"{'https' if tls else 'http'}://{host}"
        with httpx.Client(base_url=base, verify=verify, auth=login, trust_env=False) as client:
            yield RealRegistry(process, host, client)
    finally:
        process.terminate()
        process.wait(timeout=10)
        for thread in reading:
            thread.join(timeout=10)


def _listening_host(process: "subprocess.Popen[str]", reading: list[Thread]) -> str:
    if process.stderr is None:
        raise RuntimeError("the registry has no standard error to read")
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if found := _LISTENING.search(line):
            # The rest is read and dropped, so that the registry never waits for a full pipe.
            reading.append(Thread(target=_read_away, args=(process.stderr,)))
            reading[0].start()
            return found[1]
    raise RuntimeError("the registry did not start:\n" + "".join(said))


def _read_away(stream: TextIO) -> None:
    with stream:
        stream.read()


def _digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"
