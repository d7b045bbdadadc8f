import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trustme

from webhook.config import PLACES, SMALLEST, BadConfiguration, Loaded, find, load
from webhook.core.freshness import Resolving
from webhook.core.globs import Globs
from webhook.core.hosts import CredentialSource, Registry
from webhook.core.reference import Reference
from webhook.core.rules import Requirement, Rule
from webhook.core.subject import TEMPLATES
from webhook.core.targets import Place, Target, Verify
from webhook.settings import duration, seconds

HEAD = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
EVERYTHING = (
    HEAD
    + """vars:
  region: eu-west-1
  regional: {from: region, map: {eu-west-1: acmeeuw1.azurecr.io, us-east-1: acmeuse1.azurecr.io}}
registries:
  registry.example.com:
    credentials: [pod, {file: docker.json, namespaces: ["*"], paths: ["**"]}, anonymous]
    proxy: http://proxy.corp:3128
    realms: [auth.example.com]
    ca: corporate.pem
    maxInFlight: 32
  localhost:5000: {plainHTTP: true, allowLoopback: true}
targets:
  kraken:
    image: localhost:30081/{path}
    paths: ["team/**"]
    verify: {at: "http://kraken-proxy.kraken.svc/{path}", platforms: [linux/amd64]}
    health: {daemonSet: kraken/kraken-agent, ready: 90%}
    pull: anonymous
    guard: warn
  regional:
    image: "123456789012.dkr.ecr.{region}.amazonaws.com/{path}"
    verify: digest
rules:
  - name: private
    images: [registry.example.com/**]
    tags: ["*"]
    namespaces: ["*", "!build-*"]
    containers: ["*", "!istio-proxy"]
    upstream: ["{registry}"]
    podSelector: {matchLabels: {tier: web}}
    targets: [kraken, regional]
    pin: rollout
    onReuse: keep
    onPinGone: repin
    write: digest
    onFailure: admit
    percent: 100
digests: lock.yaml
defaults: {pin: rollout, write: digest, onFailure: admit}
resolving: {fresh: 30s, stale: 24h, notFound: 10s, budget: 4s, entries: 10000}
"""
)
PEM = trustme.CA().cert_pem.bytes().decode()
DIGEST = "sha256:" + "a" * 64
KRAKEN = Target(
    "kraken",
    Place("localhost:30081/{path}"),
    Globs(("team/**",)),
    Verify(Place("kraken-proxy.kraken.svc/{path}"), "http", ("linux/amd64",)),
    gated=True,
    pull="anonymous",
    guard="warn",
)
REGIONAL = Target("regional", Place("123456789012.dkr.ecr.eu-west-1.amazonaws.com/{path}"), verify=Verify())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corporate.pem").write_text(PEM)
    (tmp_path / "docker.json").write_text("{}")
    (tmp_path / "lock.yaml").write_text(f"app: {DIGEST}\nregistry.example.com/x:1.10: {DIGEST}\n")
    return tmp_path


def loaded(
    folder: Path,
    text: str | None,
    *,
    rules: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    path = None
    if text is not None:
        path = folder / "moorage.yaml"
        path.write_text(text)
    return load(path, rules=rules, variables=variables or {}, environ=environ or {})


def test_everything_that_can_be_said_is_compiled(folder: Path) -> None:
    found = loaded(folder, EVERYTHING)
    assert found.rules.rules == (
        Rule(
            "private",
            Globs(("registry.example.com/**",)),
            namespaces=Globs(("*", "!build-*")),
            containers=Globs(("*", "!istio-proxy")),
            pod_selector=(Requirement("tier", "In", ("web",)),),
            targets=(KRAKEN, REGIONAL),
        ),
    )
    assert found.rules.targets == (KRAKEN, REGIONAL)
    assert found.rules.locked == {"docker.io/library/app:latest": DIGEST, "registry.example.com/x:1.10": DIGEST}
    assert found.rules.templates == TEMPLATES
    assert found.registries.literal == {
        "registry.example.com": Registry(
            "registry.example.com",
            (CredentialSource("pod"), CredentialSource("file", str(folder / "docker.json")), CredentialSource("anonymous")),
            ("auth.example.com",),
            "http://proxy.corp:3128",
            PEM,
        ),
        "localhost:5000": Registry("localhost:5000", plain_http=True, allow_loopback=True),
        "kraken-proxy.kraken.svc": Registry("kraken-proxy.kraken.svc"),
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com": Registry("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
    }  # fmt: skip
    assert found.resolving == Resolving(30, 86400, 10, 5, 4, 10000)
    assert found.variables == {"region": "eu-west-1", "regional": "acmeeuw1.azurecr.io"}
    assert [one.name for one in found.files] == ["moorage.yaml", "docker.json", "corporate.pem", "lock.yaml"]
    assert [warning.partition("yaml:")[2] for warning in found.warnings] == [
        "19:13: targets.kraken.health: health is not watched in this version; the target is taken to be well"
    ]


def test_the_smallest_file_is_enough(folder: Path) -> None:
    found = loaded(folder, SMALLEST)
    cache = Target("localhost:30081", Place("localhost:30081/{path}"), pull="anonymous", guard="warn")
    assert found.rules.rules == (Rule("private", Globs(("registry.example.com/**",)), targets=(cache,)),)
    # The cache on the node is only written into Pods: nobody contacts it.
    assert found.registries.literal == {"registry.example.com": Registry("registry.example.com")}
    assert found.resolving == Resolving()
    assert found.warnings == ()


def test_a_flag_says_the_same_as_the_smallest_file(folder: Path) -> None:
    found = loaded(folder, None, rules=["registry.example.com/**=localhost:30081"])
    rule = loaded(folder, SMALLEST).rules.rules[0]
    assert found.rules.rules == (Rule("rule-1", rule.images, targets=rule.targets),)
    assert found.files == ()


def test_flags_come_before_the_file_and_may_name_its_targets(folder: Path) -> None:
    flags = ["a.example.com/**=regional,mirror.example.com", "b.example.com/x/*,b.example.com/y="]
    found = loaded(folder, EVERYTHING, rules=flags)
    assert [(rule.name, rule.images.patterns, [one.name for one in rule.targets]) for rule in found.rules.rules] == [
        ("rule-1", ("a.example.com/**",), ["regional", "mirror.example.com"]),
        ("rule-2", ("b.example.com/x/*", "b.example.com/y"), []),
        ("private", ("registry.example.com/**",), ["kraken", "regional"]),
    ]


@pytest.mark.parametrize(
    ("environ", "variables", "region", "regional"),
    [
        ({}, {}, "eu-west-1", "acmeeuw1.azurecr.io"),
        ({"MOORAGE_VAR_REGION": "us-east-1"}, {}, "us-east-1", "acmeuse1.azurecr.io"),
        ({"MOORAGE_VAR_REGION": "nowhere"}, {"region": "us-east-1"}, "us-east-1", "acmeuse1.azurecr.io"),
        ({"MOORAGE_VAR_REGIONAL": "x.example.com"}, {}, "eu-west-1", "x.example.com"),
        ({}, {"regional": "x.example.com", "region": "nowhere"}, "nowhere", "x.example.com"),
    ],
)
def test_variables_come_from_the_command_line_the_environment_or_the_file(
    folder: Path, environ: dict[str, str], variables: dict[str, str], region: str, regional: str
) -> None:
    found = loaded(folder, EVERYTHING, environ=environ, variables=variables)
    assert found.variables == {"region": region, "regional": regional}
    assert found.rules.targets[1].place.host == f"123456789012.dkr.ecr.{region}.amazonaws.com"


def test_a_variable_with_capitals_is_found_in_the_environment(folder: Path) -> None:
    text = HEAD + "vars: {nearBy: a.example.com}\ntargets: {t: {image: '{nearBy}/{path}'}}\nrules: [{name: a, images: [x.io/**], targets: [t]}]\n"  # fmt: skip
    found = loaded(folder, text, environ={"MOORAGE_VAR_NEARBY": "b.example.com"})
    assert found.rules.targets[0].place == Place("b.example.com/{path}")


def test_scalars_are_taken_as_they_are_written(folder: Path) -> None:
    text = (
        HEAD + "rules: [{name: 012, images: [x.io/**], tags: [1.10, no, 012], podSelector: {matchLabels: {on: yes}}}]\n"
    )
    (rule,) = loaded(folder, text).rules.rules
    assert (rule.name, rule.tags.patterns) == ("012", ("1.10", "no", "012"))
    assert rule.pod_selector == (Requirement("on", "In", ("yes",)),)


def test_other_names_of_the_hub_are_the_hub(folder: Path) -> None:
    text = HEAD + "registries: {index.docker.io: {maxInFlight: 3}, registry-1.docker.io: {}}\nrules: [{name: a, images: [index.docker.io/library/*, '!index.docker.io/library/x']}]\n"  # fmt: skip
    found = loaded(folder, text)
    assert found.rules.rules[0].images.patterns == ("docker.io/library/*", "!docker.io/library/x")
    assert {host: one.max_in_flight for host, one in found.registries.literal.items()} == {
        "docker.io": 3,
        "registry-1.docker.io": 32,
    }


def test_hosts_of_rules_upstreams_targets_and_verify_are_listed(folder: Path) -> None:
    text = (
        HEAD
        + """resolving: {proxy: http://proxy:1, ca: corporate.pem}
registries: {"*.glob.io": {}}
targets:
  far: {image: "far.io/{path}"}
  node: {image: "localhost:1/{path}", verify: {at: "http://cache.svc:5000/{path}"}}
rules:
  - name: a
    images: [images.io/**, "*.glob.io/**", "!not.io/**"]
    upstream: [up.io, "{registry}", "mirror.io/all/{repository}"]
    targets: [node, direct.io, localhost:2]
"""
    )
    found = loaded(folder, text)
    hosts = ["images.io", "up.io", "mirror.io", "far.io", "cache.svc:5000", "direct.io"]
    assert sorted(found.registries.literal) == sorted(hosts)
    assert all(one == Registry(host, proxy="http://proxy:1", ca=PEM) for host, one in found.registries.literal.items())
    covered = found.registries.find("a.glob.io")
    assert covered is not None
    assert not covered.listed
    assert found.rules.rules[0].upstream == (
        Place("up.io/{path}"),
        Place("{registry}/{path}"),
        Place("mirror.io/all/{repository}"),
    )


def test_defaults_stand_in_for_what_a_rule_does_not_say(folder: Path) -> None:
    text = HEAD + "defaults: {pin: pod, write: tagAndDigest, onFailure: refuse}\nrules: [{name: a, images: [x.io/**]}, {name: b, images: [y.io/**], pin: off, write: record, onFailure: admit}]\n"  # fmt: skip
    rules = loaded(folder, text).rules.rules
    assert [(rule.pin, rule.write, rule.on_failure) for rule in rules] == [
        ("pod", "tagAndDigest", "refuse"),
        ("off", "record", "admit"),
    ]


def test_templates_are_added_to_the_built_in_ones(folder: Path) -> None:
    found = loaded(folder, SMALLEST + "templates: {Rollout.argoproj.io: /spec/template}\n")
    assert found.rules.templates == {**TEMPLATES, "Rollout.argoproj.io": "/spec/template"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("4s", 4), ("5m", 300), ("24h", 86400), ("1h30m", 5400), ("1.5s", 1.5), ("0s", 0)],
)
def test_durations_as_kubernetes_writes_them(text: str, expected: float) -> None:
    assert seconds(text) == expected
    assert seconds(duration(expected)) == expected


@pytest.mark.parametrize("text", ["", "30", "4 s", "s", "-4s", "1d", "4S", "٤s", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        seconds(text)


def test_the_file_is_looked_for_where_the_docs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named, there = Path("named.yaml"), Path("there.yaml")
    assert find(None, {}) in {None, PLACES[1]}
    Path("moorage.yaml").write_text(SMALLEST)
    assert find(None, {}) == Path("moorage.yaml")
    assert find(None, {"MOORAGE_CONFIG": str(there)}) == there
    assert find(named, {"MOORAGE_CONFIG": str(there)}) == named


def test_without_any_configuration_the_smallest_one_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if PLACES[1].exists():
        pytest.skip("this machine has a configuration")
    with pytest.raises(BadConfiguration) as caught:
        load(None, environ={})
    assert SMALLEST in str(caught.value)
    assert "--rule" in str(caught.value)


def test_a_lock_decides_for_the_name_however_it_is_written(folder: Path) -> None:
    found = loaded(folder, EVERYTHING)
    assert found.rules.locked_to(Reference.parse("index.docker.io/library/app:latest")) == DIGEST
    assert found.rules.locked_to(Reference.parse("app:other")) == ""


def test_reading_the_configuration_imports_no_http_and_no_cluster() -> None:
    code = "import sys, webhook.config; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert not {"httpx", "aiohttp", "fastapi", "starlette", "kubernetes", "cryptography", "asyncio", "rich"} & set(done.stdout.split())  # fmt: skip


def test_a_thousand_rules_are_read_in_a_moment(folder: Path) -> None:
    rules = "".join(f"  - {{name: r{n}, images: [h{n}.io/**], targets: [t]}}\n" for n in range(1000))
    text = HEAD + "targets: {t: {image: 'cache.io/{registry}/{path}'}}\nrules:\n" + rules
    assert len(loaded(folder, text).rules.rules) == 1000


def test_a_key_with_nothing_behind_it_is_no_key(folder: Path) -> None:
    empty = (
        HEAD
        + """vars:
registries:
  registry.example.com:
  other.example.com: {ca: , realms: }
targets:
digests:
defaults: {pin: }
resolving:
rules:
  - name: private
    images: [registry.example.com/**]
    tags:
    podSelector:
    targets: [localhost:30081]
"""
    )
    found = loaded(folder, empty)
    assert found.rules.rules == loaded(folder, SMALLEST).rules.rules
    assert sorted(found.registries.literal) == ["other.example.com", "registry.example.com"]
    assert found.resolving == Resolving()


# The hash


def test_the_hash_tells_one_configuration_from_another(tmp_path: Path) -> None:
    def hash_of(text: str, **beside: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, content in beside.items():
            (folder / f"{name}.yaml").write_text(content)
        (folder / "moorage.yaml").write_text(text)
        return load(folder / "moorage.yaml", environ={}).hash

    locked = f"{SMALLEST}digests: lock.yaml\n"
    digest = "sha256:" + "d" * 64
    hashes = [
        hash_of(SMALLEST),
        hash_of(SMALLEST + "# a word\n"),
        hash_of(locked, lock=""),
        hash_of(locked, lock=f"registry.example.com/app:1: {digest}\n"),
    ]
    assert len({*hashes}) == len(hashes)
    # The same in another folder, as in a Pod and on a laptop.
    assert hash_of(locked, lock="") == hashes[2]
    assert all(len(one) == 16 for one in hashes)


def test_logins_and_variables_are_not_in_the_hash(tmp_path: Path) -> None:
    file = tmp_path / "moorage.yaml"
    file.write_text(SMALLEST + "registries: {registry.example.com: {credentials: [{file: docker.json}]}}\n")
    seen = set()
    for content in ("{}", '{"auths": {}}'):
        (tmp_path / "docker.json").write_text(content)
        seen.add(load(file, environ={"MOORAGE_VAR_REGION": content[:1]}).hash)
    assert len(seen) == 1
