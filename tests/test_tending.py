"""The process of `adopt --watch`: seal keys that are still to come, and a configuration that is broken and mended."""

from pathlib import Path

from tests.test_reload import CONFIG
from webhook.access import Access
from webhook.tending import Options, Tending


async def test_a_file_of_seal_keys_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "moorage.yaml").write_text(CONFIG.format(name="one", host="registry.example.com"))
    (tmp_path / "docker.json").write_text("{}")
    keys = tmp_path / "certs" / "seal.key"
    options = Options(
        access=Access("http://127.0.0.1:1", dict),
        namespace="",
        newest=False,
        interval=60.0,
        ops_listen="127.0.0.1:0",
        lease_namespace="moorage-system",
        config=tmp_path / "moorage.yaml",
        rules=(),
        variables={},
        seal_key_file=keys,
    )
    with (tmp_path / "log").open("w") as log:
        tending = Tending(options, environ={}, stderr=log)
        for _ in range(2):
            assert await tending.round() == f"{keys} is not there yet: nothing is written before"
        keys.parent.mkdir()
        keys.write_text("short")
        assert await tending.round() == f"{keys}: a seal key needs at least 32 bytes"
        keys.write_text("k" * 32)
        # Now it looks, at an API server that is not there.
        assert "cannot be asked" in await tending.round() or "refuses" in await tending.round()
        good = (tmp_path / "moorage.yaml").read_text()
        for text, success in (("rules: [", b"0.0"), (good, b"1.0")):
            (tmp_path / "moorage.yaml").write_text(text)
            assert ("not YAML" in await tending.round()) is (success == b"0.0")
            assert b"moorage_config_reload_success " + success in tending._telemetry.exposition()[0]
        # An alert asks whether it grows, which it does only from where it was seen before.
        assert b'moorage_pins_gone_total{rule="one"} 0.0' in tending._telemetry.exposition()[0]
        await tending._assembly.aclose()
        tending._writer.close()
