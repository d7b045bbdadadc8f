"""The Dockerfile, as its linter sees it. What it builds is tested on the node."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.parts.sbom import main
from tests.support.packages import IMAGE, pinned
from webhook import __version__

TOP: Final = Path(__file__).parents[2]


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, TOP / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_moorage_never_runs_is_taken_out_of_a_root_and_nothing_else(tmp_path: Path) -> None:
    goes = ["bin/sh", "usr/bin/x86_64-linux-gnu-gcc-12", "usr/bin/dpkg-deb", "opt/moorage/bin/activate.fish"]
    goes += ["usr/local/lib/python3.13/site-packages/pip/main.py", "usr/lib/python3.11/ensurepip/x.py"]
    goes += ["usr/share/python-wheels/pip-23-py3-none-any.whl"]
    stays = ["usr/bin/python3", "opt/moorage/bin/moorage", "usr/bin/ld.so", "usr/sbin/cppw", "var/lib/dpkg/status"]
    stays += ["usr/local/lib/python3.13/site-packages/pipes.py", "usr/sbin/ldconfig"]
    for name in goes + stays:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bin/bash").symlink_to("sh")
    subprocess.run([sys.executable, TOP / "deploy/bare.py", tmp_path], check=True)
    assert sorted(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()) == sorted(stays)
    assert not (tmp_path / "bin/bash").is_symlink()


def test_the_bill_of_materials_names_what_the_image_holds_with_versions_and_hashes(tmp_path: Path) -> None:
    # To hold it against its schema takes seconds; `make sbom` does.
    main(tmp_path / "dist/bom.json", "--no-validate")
    bom = json.loads((tmp_path / "dist/bom.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    # Nothing that differs from one run to the next.
    assert "serialNumber" not in bom
    assert "timestamp" not in bom["metadata"]
    assert (bom["metadata"]["component"]["name"], bom["metadata"]["component"]["version"]) == ("moorage", __version__)
    told = {one["name"]: one["version"] for one in bom["components"]}
    assert told == pinned("clouds.txt", IMAGE)
    assert {"aiohttp", "botocore", "cryptography"} <= told.keys()
    assert {"hatchling", "pytest", "pip"} & told.keys() == set()
    assert {one["purl"] for one in bom["components"]} == {f"pkg:pypi/{name}@{told[name]}" for name in told}
    assert all(one["externalReferences"][0]["hashes"] for one in bom["components"])
