"""What an earlier state wrote into clusters is understood as it was meant, and not written again.

All texts here were written by 0.1.0 as of dc3e649, under a key of tests. They are never written anew by what is tested: who
changes a format must go on reading this one. `tests/cluster/test_upgrade.py` upgrades from that state itself.
"""

import json
from base64 import b64encode
from typing import Final

import pytest

from tests.cluster.webhook import SEAL_KEY
from tests.test_keeper import NAMES, SECRET, World
from webhook.certificates import made
from webhook.core.annotation import is_ours, read
from webhook.core.pins import judge, needs_seal
from webhook.core.revision import Revision
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.upkeep import PATH

KEY: Final = Sealer((Secret(SEAL_KEY),))
IMAGE: Final = "registry.example.com/team/app:stable"
DIGEST: Final = f"sha256:{'a1' * 32}"
TIME: Final = 1795749824716
PINNED: Final = f'{{"images":{{"{IMAGE}":"{DIGEST}"}},"seal":"%s"}}'


@pytest.mark.parametrize(
    ("revision", "seal"),
    [
        (Revision("ReplicaSet", "shop", "shop-58ddcfdd7", "58ddcfdd7"), "4c84aa8aa8f6949e4b60dff728d80687"),
        (Revision("ControllerRevision", "shop", "db-6c4f8d9bb7", "6c4f8d9bb7"), "78b2ae0cf87cb864a35d7346a05b9534"),
        (Revision("Job", "shop", "load", "job"), "31b07ab244c91e90005ee8c1cf8cbd79"),
    ],
    ids=["ReplicaSet", "ControllerRevision", "Job"],
)
def test_a_pin_of_an_earlier_state_holds_under_its_seal(revision: Revision, seal: str) -> None:
    key = f"pins.moorage.dev/{revision.hash}.{TIME}"
    standing = Revision(
        revision.kind, revision.namespace, revision.name, revision.hash, "u-1", TIME, {key: PINNED % seal}
    )
    found = judge(standing, KEY)
    assert {name: (one.digest, one.sealed, one.at) for name, one in found.images.items()} == {
        IMAGE: (DIGEST, True, TIME)
    }
    assert found.ignored == ()
    assert not needs_seal(standing, KEY)


def test_a_pin_that_an_earlier_state_added_later_holds_by_its_uid() -> None:
    value = json.dumps({**json.loads(PINNED % "1a7c90aa0050ee18af59277d0fe5150e"), "uid": "u-1"})
    annotations = {f"pins.moorage.dev/58ddcfdd7.{TIME}": value}
    standing = Revision("ReplicaSet", "shop", "shop-58ddcfdd7", "58ddcfdd7", "u-1", 1, annotations)
    assert [(one.digest, one.sealed) for one in judge(standing, KEY).images.values()] == [(DIGEST, True)]


def test_what_an_earlier_state_wrote_on_a_pod_is_a_proof_for_its_siblings() -> None:
    entry = f'{{"from":"{IMAGE}","digest":"{DIGEST}","target":"localhost:30081","rule":"private","source":"pin","at":{TIME}}}'
    text = f'{{"images":{{"containers/app":{entry}}},"time":1795749824742,"seal":"ca81541f6f442b67e23b4f3a83b5dc5b"}}'
    images = read({"moorage.dev/images": text})
    assert is_ours(images, "shop", "u-1", KEY)
    assert images.images["containers/app"].digest == DIGEST
    assert not is_ours(images, "other", "u-1", KEY)


async def test_a_secret_and_a_registration_of_an_earlier_state_are_kept_without_a_write() -> None:
    """Keys are made now, the names and forms around them are its."""
    world = World()
    fresh = made(NAMES, world.start)
    (authority,) = fresh.authorities
    assert authority.key is not None
    assert fresh.leaf is not None
    path = "12" * 32
    entries = {
        "ca.crt": authority.certificate,
        "ca.key": authority.key.reveal(),
        "tls.crt": fresh.leaf.certificate,
        "tls.key": fresh.leaf.key.reveal(),
        "seal.key": f"{SEAL_KEY}\n",
        "path.secret": f"{path}\n",
    }
    metadata = {
        "name": "moorage-certs",
        "namespace": "moorage-system",
        "resourceVersion": "1",
        "labels": {"moorage.dev/managed": "true"},
    }
    data = {name: b64encode(text.encode()).decode() for name, text in entries.items()}
    world.api.objects[SECRET] = {"metadata": metadata, "type": "Opaque", "data": data}
    for one in world.api.objects[PATH]["webhooks"]:
        one["clientConfig"]["caBundle"] = b64encode(authority.certificate.encode()).decode()
        one["clientConfig"]["service"]["path"] = f"/mutate/{path}"
    before = json.dumps(world.api.objects)
    assert await world.later(days=1) == ""
    assert world.did == []
    assert json.dumps(world.api.objects) == before
