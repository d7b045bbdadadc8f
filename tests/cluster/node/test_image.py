"""What the built image holds, and what it does not."""

import json
from typing import Final

from tests.parts.container import blob, files, layer_sizes, layout, manifest
from tests.support.packages import IMAGE, needed

UNWANTED: Final = {
    *("sh", "ash", "bash", "dash", "rbash", "busybox", "perl", "apt", "apt-get", "dpkg", "apk", "pip", "pip3"),
    *("cc", "gcc", "g++", "ld", "as", "make", "curl", "wget"),
}


def test_the_image_is_small_and_holds_what_runs_and_nothing_that_only_builds() -> None:
    _, own = layer_sizes(layout())
    assert own <= 90_000_000
    config = json.loads(blob(layout(), manifest(layout())["config"]["digest"]).read_text())["config"]
    assert (config["User"], config["Entrypoint"]) == ("65532:65532", ["moorage"])
    names = {one.split("/")[-2] for one in files(layout()) if one.endswith(".dist-info/METADATA")}
    held = {name.partition("-")[0].replace("_", "-").lower() for name in names}
    assert held - needed(IMAGE) == set()
    assert {"botocore", "azure-identity", "google-auth"} <= held


def test_the_image_has_no_shell_installer_or_compiler_and_still_its_python() -> None:
    held = files(layout())
    programs = {one.rsplit("/", 1)[1] for one in held if "bin/" in one}
    assert programs & UNWANTED == set()
    assert {"moorage", "python3"} <= programs
    assert [one for one in held if one.endswith(".whl") or "/ensurepip/" in one or "-packages/pip/" in one] == []
    # What the base is made of is still known to those who look for its vulnerabilities.
    assert "var/lib/dpkg/status" in held
