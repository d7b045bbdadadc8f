"""What a Secret of certificates and keys says: what can be served with, what cannot and why, and that nothing is shown."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from webhook.certificates import (
    CA_CERT,
    CA_KEY,
    ENTRIES,
    MANAGED,
    PATH_SECRET,
    SEAL_KEY,
    TLS_CERT,
    TLS_KEY,
    Stored,
    authorities_in,
    held,
    kept_in,
    made,
    names_of,
    new_authority,
    new_leaf,
    new_secret,
    stored_of,
)
from webhook.core.keeping import ALL, AUTHORITY_LIFE, LEAF_LIFE, Begin, Kept, begun, forgotten, issued
from webhook.tls import utc_now

NOW: Final = utc_now().replace(microsecond=0)
NAMES: Final = names_of("moorage-system", "moorage")
NAME: Final = NAMES[0]


def stored(**entries: bytes | None) -> Stored:
    """A Secret of ours that is right, but for these entries; `_` stands for the dot of their names."""
    right = stored_of(made(NAMES, NOW))
    changed = {name.replace("_", "."): content for name, content in entries.items()}
    every = {**right.entries, **changed}
    return msgspec.structs.replace(right, entries={name: one for name, one in every.items() if one is not None})


def test_names_of_a_service() -> None:
    assert NAMES == (
        "moorage.moorage-system.svc",
        "moorage.moorage-system.svc.cluster.local",
        "moorage.moorage-system",
    )


def test_keys_are_of_the_curve_p256() -> None:
    authority = new_authority(NOW)
    for pem in (authority.certificate, new_leaf(authority, NAMES, NOW).certificate):
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"


def test_what_is_made_can_be_served_with() -> None:
    found = held(stored(), name=NAME, now=NOW)
    assert found.problems == ()
    assert found.pair is not None
    assert found.pair.names == {*NAMES}
    assert found.pair.expires - NOW.timestamp() == LEAF_LIFE
    assert found.sealer is not None
    assert found.paths is not None
    assert len(found.paths) == 1


def rotating() -> list[Kept]:
    """What stands on the way from one generation to the next."""
    first = made(NAMES, NOW)
    step = Begin(first.authorities)
    second = begun(first, step, authority=new_authority(NOW), seal=new_secret(), path=new_secret())
    third = issued(second, new_leaf(second.authorities[0], NAMES, NOW), now=NOW.timestamp())
    fourth = forgotten(third, now=NOW.timestamp())
    opened = msgspec.structs.replace(first, is_open=True)
    return [first, second, third, fourth, opened, msgspec.structs.replace(opened, paths=(), wish=ALL)]


@pytest.mark.parametrize("kept", rotating(), ids=["steady", "begun", "switched", "forgotten", "both paths", "open"])
def test_what_stands_in_a_secret_is_read_as_it_was_written(kept: Kept) -> None:
    written = stored_of(kept)
    assert kept_in(written) == kept
    assert kept_in(Stored.of_data(written.data(), written.labels, written.annotations)) == kept


def test_an_authority_lives_a_year() -> None:
    (authority,) = made(NAMES, NOW).authorities
    assert authority.ends - NOW.timestamp() == AUTHORITY_LIFE


def test_what_others_wrote_beside_it_stays() -> None:
    before = Stored({"note": b"mine"}, {"team": "a"}, {"owner": "b"})
    written = stored_of(made(NAMES, NOW), before)
    assert written.entries["note"] == b"mine"
    assert written.labels == {"team": "a", MANAGED: "true"}
    assert written.annotations == {"owner": "b"}


def stranger(*names: str) -> tuple[bytes, bytes, bytes]:
    """Authority, certificate and key of somebody else."""
    authority = trustme.CA()
    leaf = authority.issue_cert(*names)
    return authority.cert_pem.bytes(), leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()


def by_stranger(*names: str) -> Stored:
    _, certificate, key = stranger(*names)
    return stored(tls_crt=certificate, tls_key=key)


def aged(days: int) -> Stored:
    """What was made so many days ago, or will be."""
    return stored_of(made(NAMES, NOW - timedelta(days=days)))


def other_authority() -> Stored:
    return stored(ca_crt=stranger("a")[0])


SPOILT: Final[list[tuple[str, Callable[[], Stored], str]]] = [
    ("no certificate", lambda: stored(tls_crt=None), "there is no tls.crt"),
    ("no key", lambda: stored(tls_key=b""), "there is no tls.key"),
    ("neither", lambda: stored(tls_crt=None, tls_key=None), "there is no tls.crt and no tls.key"),
    ("half a certificate", lambda: stored(tls_crt=stored().entries[TLS_CERT][:300]), "not PEM"),
    ("half a key", lambda: stored(tls_key=stored().entries[TLS_KEY][:100]), "not PEM"),
    ("another key", lambda: stored(tls_key=stored().entries[TLS_KEY]), "does not belong"),
    ("a foreign authority", other_authority, "no authority in ca.crt that is valid has signed the certificate"),
    ("a foreign certificate", lambda: by_stranger(NAME), "no authority in ca.crt"),
    ("no authority", lambda: stored(ca_crt=b""), "no authority in ca.crt"),
    ("expired", lambda: aged(31), "valid from"),
    ("not valid yet", lambda: aged(-2), "valid from"),
    ("other names", lambda: by_stranger("other.example.com"), f"for other.example.com, and not for {NAME}"),
    ("another namespace", lambda: stored_of(made(names_of("other", "moorage"), NOW)), "and not for moorage.moorage"),
]


@pytest.mark.parametrize(("spoil", "why"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_pair_that_cannot_serve_says_why_and_the_rest_is_used(spoil: Callable[[], Stored], why: str) -> None:
    found = held(spoil(), name=NAME, now=NOW)
    assert found.pair is None
    assert [why in one for one in found.problems] == [True]
    assert found.sealer is not None
    assert found.paths is not None


def test_a_short_seal_key_and_a_bad_path_secret_leave_the_pair_in_use() -> None:
    found = held(stored(seal_key=b"short", path_secret=b"a/b"), name=NAME, now=NOW)
    assert found.pair is not None
    assert (found.sealer, found.paths) == (None, None)
    assert found.problems == (
        "seal.key: a seal key needs at least 32 bytes",
        "path.secret: at least 16 letters and digits are wanted",
    )


def test_a_path_secret_that_is_lost_while_both_paths_are_answered_is_not_taken_for_none() -> None:
    both = stored_of(msgspec.structs.replace(made(NAMES, NOW), is_open=True))
    assert held(both, name=NAME, now=NOW).paths
    lost = Stored({key: one for key, one in both.entries.items() if key != PATH_SECRET}, both.labels, both.annotations)
    found = held(lost, name=NAME, now=NOW)
    assert found.paths is None
    assert [one.partition(":")[0] for one in found.problems] == [PATH_SECRET]


def test_somebody_elses_secret_needs_no_more_than_a_pair() -> None:
    authority, certificate, key = stranger(NAME)
    found = held(Stored({CA_CERT: authority, TLS_CERT: certificate, TLS_KEY: key}), name=NAME, now=NOW)
    assert found.pair is not None
    assert (found.sealer, found.paths, found.problems) == (None, (), ())


def test_an_authority_between_is_followed() -> None:
    root = trustme.CA()
    between = root.create_child_ca()
    leaf = between.issue_cert(NAME)
    chain = b"".join(one.bytes() for one in leaf.cert_chain_pems)
    entries = {CA_CERT: root.cert_pem.bytes(), TLS_CERT: chain, TLS_KEY: leaf.private_key_pem.bytes()}
    assert held(Stored(entries), name=NAME, now=NOW).problems == ()


def test_words_between_certificates_do_not_matter() -> None:
    content = stored().entries[CA_CERT]
    (one,) = authorities_in(b"# caf\xc3\xa9 \xff\n" + content + b"\nand so on")
    assert one.certificate.encode() == content


@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_broken_is_left_out_and_the_rest_is_read(name: str) -> None:
    right = stored()
    for content in (b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        kept_in(msgspec.structs.replace(right, entries={**right.entries, name: content}))


def test_nothing_shows_a_key() -> None:
    right = stored()
    kept = kept_in(right)
    told = repr([right, kept, held(right, name=NAME, now=NOW), kept.leaf, kept.authorities])
    for name in (CA_KEY, TLS_KEY, SEAL_KEY, PATH_SECRET):
        text = right.entries[name].decode().splitlines()
        assert not any(line in told for line in text if "-----" not in line)
    with pytest.raises((TypeError, NotImplementedError)):
        msgspec.json.encode(kept)


def test_a_wish_that_nobody_knows_is_none() -> None:
    right = stored()
    odd: Any = {"moorage.dev/rotate": "everything", "moorage.dev/old-authority-until": "soon"}
    kept = kept_in(msgspec.structs.replace(right, annotations=odd))
    assert (kept.wish, kept.until) == ("", 0.0)
