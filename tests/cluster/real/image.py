"""Small OCI images made here: pushed to a registry over HTTP, or loaded into containerd without any."""

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Self

import httpx
import msgspec

from tests.cluster.real.containers import ctr

_OCI: Final = "application/vnd.oci.image"


class Image(msgspec.Struct, frozen=True):
    """A manifest with its blobs, or an index with its children."""

    media_type: str
    manifest: bytes
    blobs: tuple[bytes, ...] = ()
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        """Of the manifest or index."""
        return digest_of(self.manifest)

    @classmethod
    def make(
        cls,
        program: bytes,
        *,
        arguments: Sequence[str] = (),
        random_layers: Sequence[int] = (),
        labels: Mapping[str, str] | None = None,
        architecture: str = "amd64",
    ) -> Self:
        """An image that runs a static program. Further layers of so many random bytes are never the same twice.

        The kubelet takes images of equal content for one: give each a label of its own.
        """
        layers = [_archive({"program": program})]
        layers += [_archive({f"random-{number}": os.urandom(size)}) for number, size in enumerate(random_layers)]
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Entrypoint": ["/program", *arguments], "Labels": dict(labels or {})},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            }
        ).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json", config),
            "layers": [_descriptor(f"{_OCI}.layer.v1.tar", layer) for layer in layers],
        }
        return cls(f"{_OCI}.manifest.v1+json", json.dumps(document).encode(), (config, *layers))

    @classmethod
    def index(cls, children: Mapping[str, "Image"]) -> Self:
        """An image of several platforms, by architecture; the same image may stand for several."""
        manifests = [
            _descriptor(child.media_type, child.manifest, platform={"os": "linux", "architecture": architecture})
            for architecture, child in children.items()
        ]
        document = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": manifests}
        return cls(f"{_OCI}.index.v1+json", json.dumps(document).encode(), children=tuple(children.values()))

    def push(self, registry: httpx.Client, repository: str, tag: str = "") -> str:
        """Push under the tag, or by digest alone, and return the digest."""
        base = f"/v2/{repository}"
        for child in self.children:
            child.push(registry, repository)
        for blob in self.blobs:
            begun = registry.post(f"{base}/blobs/uploads/").raise_for_status()
            place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest_of(blob)})
            registry.put(place, content=blob).raise_for_status()
        headers = {"Content-Type": self.media_type}
        place = httpx.URL(f"{base}/manifests/{tag or self.digest}")
        registry.put(place, content=self.manifest, headers=headers).raise_for_status()
        return self.digest

    def load(self, name: str) -> None:
        """Put it into this machine's containerd under a full name such as localhost/pause:1."""
        top = _descriptor(self.media_type, self.manifest, annotations={"io.containerd.image.name": name})
        files = {f"blobs/{digest_of(content).replace(':', '/')}": content for content in (self.manifest, *self.blobs)}
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        ctr("images", "import", "-", given=_archive(files))


def forget_image(digest: str) -> None:
    """Take an image out of this machine's containerd under each of its names, so that it must be pulled again."""
    rows = [row.split() for row in ctr("images", "list").splitlines()]
    ctr("images", "remove", "--sync", *(row[0] for row in rows if row[2] == digest))


def digest_of(content: bytes) -> str:
    """As registries write it."""
    return f"sha256:{sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A tar of executable files."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()
