"""`moorage certs` on files: made, shown, checked; never a key on a screen where none was asked for. On a cluster it is tested
in tests/cluster/test_certificates.py."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from webhook.certificates import ENTRIES, Stored, held, kept_in
from webhook.cli.main import run
from webhook.tls import utc_now

NAME = "moorage.moorage-system.svc"


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = run(["certs", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def keys_in(folder: Path) -> list[str]:
    """Every line that must not be shown."""
    texts = [(folder / name).read_text() for name in ("ca.key", "tls.key", "seal.key", "path.secret")]
    return [line for text in texts for line in text.splitlines() if "-----" not in line]


def test_files_that_are_made_fit_and_only_their_owner_may_read_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "pair"
    code, out, err = told(capsys, "make", "--dir", folder)
    assert (code, out) == (0, "")
    assert "nobody renews this: make another before" in err
    assert {one.name for one in folder.iterdir()} == {*ENTRIES}
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}
    assert not any(one in err for one in keys_in(folder))
    assert told(capsys, "check", "--dir", folder)[0] == 0


def test_files_that_are_there_are_not_written_over(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_text("mine")
    code, _, err = told(capsys, "make", "--dir", tmp_path)
    assert code == 2
    assert "holds ca.key already" in err
    assert (tmp_path / "ca.key").read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["ca.key"]


@pytest.mark.parametrize(("form", "read"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_a_secret_that_is_printed_can_be_served_with(capsys: pytest.CaptureFixture[str], form: str, read: Any) -> None:
    code, out, err = told(capsys, "make", "-n", "here", "--secret", "other", "--managed", "-o", form)
    assert (code, err) == (0, "")
    made = read(out)
    assert made["metadata"] == {"name": "other", "namespace": "here", "labels": {"moorage.dev/managed": "true"}}
    stored = Stored.of_data(made["data"], made["metadata"]["labels"], None)
    assert held(stored, name="moorage.here.svc", now=utc_now()).problems == ()
    assert kept_in(stored).is_ours


@pytest.mark.parametrize(
    "words",
    [("-n", "Foo Bar"), ("-n", ""), ("-n", "a.b"), ("-n", "a" * 64), ("--secret", "a/b"), ("--secret", "a..b")],
    ids=" ".join,
)
def test_what_nothing_in_a_cluster_can_be_called_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    code, out, err = told(capsys, "make", *words)
    assert (code, out) == (2, "")
    assert f"{words[1]!r} can be no name in Kubernetes" in err


def test_files_are_not_taken_for_what_moorage_renews(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    code, _, err = told(capsys, "make", "--managed", "--dir", folder)
    assert code == 2
    assert "--managed is a label of the Secret" in err
    assert not folder.exists()
    assert "--managed" not in told(capsys, "make", "--dir", folder)[2]


def test_what_is_shown_holds_no_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told(capsys, "make", "--dir", tmp_path / "pair", "--days", "90")
    code, out, _ = told(capsys, "show", "--dir", tmp_path / "pair", "-o", "json")
    assert code == 0
    shown = json.loads(out)
    assert shown["certificate"]["names"] == [
        "moorage.moorage-system",
        "moorage.moorage-system.svc",
        "moorage.moorage-system.svc.cluster.local",
    ]
    assert shown["certificate"]["signedBy"] == shown["authorities"][0]["fingerprint"]
    assert (shown["sealKeys"], shown["pathSecrets"], shown["managed"]) == (1, 1, False)
    _, table, _ = told(capsys, "show", "--dir", tmp_path / "pair")
    assert "has its key" in table
    assert not any(one in out + table for one in keys_in(tmp_path / "pair"))


def foreign(folder: Path) -> None:
    (folder / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())


BROKEN: list[tuple[str, Any, str]] = [
    ("half a pair", lambda folder: (folder / "tls.key").unlink(), "there is no tls.key"),
    ("no text", lambda folder: (folder / "tls.crt").write_bytes(b"\xff"), "not PEM"),
    ("a foreign authority", foreign, "no authority in ca.crt that is valid has signed the certificate"),
    ("a short seal key", lambda folder: (folder / "seal.key").write_text("short"), "at least 32 bytes"),
    ("a bad path secret", lambda folder: (folder / "path.secret").write_text("a/b"), "at least 16 letters and digits"),
]


@pytest.mark.parametrize(("spoil", "why"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_does_not_fit_is_told_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, spoil: Any, why: str
) -> None:
    told(capsys, "make", "--dir", tmp_path / "pair")
    spoil(tmp_path / "pair")
    code, out, _ = told(capsys, "check", "--dir", tmp_path / "pair")
    assert code == 2
    assert [why in line for line in out.splitlines() if line.startswith("error")] == [True]


def test_a_certificate_for_another_namespace_does_not_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told(capsys, "make", "--dir", tmp_path / "pair")
    code, out, _ = told(capsys, "check", "--dir", tmp_path / "pair", "-n", "other", "-o", "json")
    assert code == 2
    (error,) = [one for one in json.loads(out)["items"] if one["level"] == "error"]
    assert error["message"].endswith("and not for moorage.other.svc")


def test_one_that_ends_soon_is_a_warning(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told(capsys, "make", "--dir", tmp_path / "pair", "--days", "3")
    code, out, _ = told(capsys, "check", "--dir", tmp_path / "pair")
    assert code == 0
    assert out.startswith("warning certificate: fits its key")


def test_what_to_rotate_is_asked_for_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = told(capsys, "rotate")
    assert code == 2
    assert err == "moorage: Missing argument 'what'. Choose from: leaf, all, drop; see moorage certs rotate --help\n"


def test_an_empty_folder_is_no_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for word in ("show", "check"):
        code, _, err = told(capsys, word, "--dir", tmp_path)
        assert code == 2
        assert "holds none of" in err


def test_without_a_cluster_it_says_what_to_give(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for words in (("show",), ("check",), ("rotate", "leaf")):
        code, _, err = told(capsys, *words)
        assert code == 2
        assert "give --kubeconfig" in err
