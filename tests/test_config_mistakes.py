"""Every kind of mistake, with its place and its words. `§` marks where the mistake stands."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canary import marked
from tests.support.examples import many
from webhook.config import BadConfiguration, load
from webhook.reading import MOST

HEAD = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
RULE = "rules: [{name: a, images: [r.io/**]}]\n"
TARGET = "targets: {t: {image: 't.io/{path}', "
DIGEST = "sha256:" + "a" * 64

MISTAKES = {
    "apiVersion": ("apiVersion: §moorage.dev/v1\nkind: Configuration\n" + RULE, "apiVersion: moorage.dev/v1alpha1 is wanted"),
    "kind": ("apiVersion: moorage.dev/v1alpha1\nkind: §Config\n" + RULE, "kind: Configuration is wanted"),
    "kind missing": ("§apiVersion: moorage.dev/v1alpha1\n" + RULE, "kind: this key is missing"),
    "no mapping": ("§- a\n", "the file must hold a mapping"),
    "no rules": ("§" + HEAD, "rules: this key is missing"),
    "empty rules": (HEAD + "rules: §[]\n", "rules: at least one rule is wanted"),
    "rules of the wrong type": (HEAD + "rules: §{}\n", "rules: a list is wanted"),
    "rule of the wrong type": (HEAD + "rules: [{name: a, images: [r.io/**]}, §5]\n", "rules[1]: a mapping is wanted"),
    "unknown key at the top": (HEAD + "§rule: []\n" + RULE, 'rule: unknown key (did you mean "rules"?)'),
    "unknown key in a rule": (HEAD + "rules:\n- name: a\n  images: [r.io/**]\n  §target: [x.io]\n", 'rules[0].target: unknown key (did you mean "targets"?)'),
    "unknown key in a registry": (HEAD + RULE + "registries: {r.io: {§plainHttp: true}}\n", 'registries["r.io"].plainHttp: unknown key (did you mean "plainHTTP"?)'),
    "unknown key in a target": (HEAD + RULE + TARGET + "§verfy: off}}\n", 'targets.t.verfy: unknown key (did you mean "verify"?)'),
    "unknown key in verify": (HEAD + RULE + TARGET + "verify: {§platfrom: []}}}\n", 'targets.t.verify.platfrom: unknown key (did you mean "platforms"?)'),
    "unknown key in a selector": (HEAD + "rules: [{name: a, images: [r.io/**], podSelector: {§matchLabel: {}}}]\n", 'rules[0].podSelector.matchLabel: unknown key (did you mean "matchLabels"?)'),
    "unknown key in resolving": (HEAD + RULE + "resolving: {§not_found: 10s}\n", 'resolving.not_found: unknown key (did you mean "notFound"?)'),
    "key like nothing": (HEAD + RULE + "§zzz: 1\n", "zzz: unknown key"),
    "key twice": (HEAD + RULE + "§rules: []\n", 'the key "rules" stands here twice; first on line 3, column 1'),
    "key twice, deep": (HEAD + "rules: [{name: a, images: [r.io/**], §name: b}]\n", 'the key "name" stands here twice; first on line 3, column 10'),
    "name missing": (HEAD + "rules: [§{images: [r.io/**]}]\n", "rules[0].name: this key is missing"),
    "name of a rule": (HEAD + "rules: [{name: §a b, images: [r.io/**]}]\n", "rules[0].name: at most 63 letters, digits and . _ - may stand here, letters or digits at the ends"),
    "two rules of one name": (HEAD + "rules: [{name: a, images: [r.io/**]}, {name: §a, images: [s.io/**]}]\n", 'rules[1].name: another rule is called "a" already'),
    "images missing": (HEAD + "rules: [§{name: a}]\n", "rules[0].images: this key is missing"),
    "images a text": (HEAD + "rules: [{name: a, images: §r.io/**}]\n", 'rules[0].images: a list is wanted, as ["r.io/**"]'),
    "images empty": (HEAD + "rules: [{name: a, images: §[]}]\n", "rules[0].images: at least one pattern must include images"),
    "images only exclude": (HEAD + 'rules: [{name: a, images: §["!r.io/**"]}]\n', "rules[0].images: at least one pattern must include images"),
    "pattern without host": (HEAD + "rules: [{name: a, images: [§nginx]}]\n", 'rules[0].images[0]: "nginx" is no registry host (did you mean "docker.io/library/nginx"?)'),
    "pattern without host, two parts": (HEAD + "rules: [{name: a, images: [r.io/**, §team/app]}]\n", 'rules[0].images[1]: "team" is no registry host (did you mean "docker.io/team/app"?)'),
    "pattern of the hub with one part": (HEAD + "rules: [{name: a, images: [§docker.io/nginx]}]\n", 'rules[0].images[0]: images of docker.io have two parts (did you mean "docker.io/library/nginx"?)'),
    "pattern without path": (HEAD + "rules: [{name: a, images: [§r.io]}]\n", 'rules[0].images[0]: it names no path (did you mean "r.io/**"?)'),
    "pattern that is a name with a tag": (HEAD + "rules: [{name: a, images: [§'nginx:1']}]\n", 'rules[0].images[0]: it names no path (did you mean "docker.io/library/nginx"?)'),
    "pattern with a tag": (HEAD + "rules: [{name: a, images: [§'r.io/app:1']}]\n", 'rules[0].images[0]: a pattern ends before the tag; write that under tags (did you mean "r.io/app"?)'),
    "pattern with a scheme": (HEAD + "rules: [{name: a, images: [§'https://r.io/**']}]\n", 'rules[0].images[0]: write it without scheme (did you mean "r.io/**"?)'),
    "pattern with capitals": (HEAD + "rules: [{name: a, images: [§r.io/App]}]\n", 'rules[0].images[0]: paths of images are lower-case (did you mean "r.io/app"?)'),
    "pattern with a slash at the end": (HEAD + "rules: [{name: a, images: [§r.io/app/]}]\n", 'rules[0].images[0]: it ends at a slash (did you mean "r.io/app/**"?)'),
    "pattern that is an expression": (HEAD + "rules: [{name: a, images: [r.io/**], tags: [§'v[0-9]+']}]\n", 'rules[0].tags[0]: "v[0-9]+" is no pattern: it knows *, ** and ? only, and ! at its start'),
    "pattern that is empty": (HEAD + "rules: [{name: a, images: [r.io/**], namespaces: [§'']}]\n", "rules[0].namespaces[0]: a pattern may not be empty or hold blanks"),
    "no patterns": (HEAD + "rules: [{name: a, images: [r.io/**], containers: §[]}]\n", "rules[0].containers: at least one pattern is wanted; leave the key out to match everything"),
    "unknown target": (HEAD + TARGET + "}}\nrules: [{name: a, images: [r.io/**], targets: [t, §tt]}]\n", 'rules[0].targets[1]: there is no target "tt", and it is no host (did you mean "t"?)'),
    "target twice": (HEAD + TARGET + "}}\nrules: [{name: a, images: [r.io/**], targets: [t, §t]}]\n", "rules[0].targets[1]: t stands here twice"),
    "upstream empty": (HEAD + "rules: [{name: a, images: [r.io/**], upstream: §[]}]\n", "rules[0].upstream: at least one upstream is wanted; {registry} is the image's own"),
    "upstream without path": (HEAD + "rules: [{name: a, images: [r.io/**], upstream: [§u.io/all]}]\n", 'rules[0].upstream[0]: every image would get the same name (did you mean "u.io/all/{path}"?)'),
    "upstream that is no host": (HEAD + "rules: [{name: a, images: [r.io/**], upstream: [§mirror]}]\n", 'rules[0].upstream[0]: "mirror" is no registry host: it holds no dot, no port, and is not localhost'),
    "percent out of range": (HEAD + "rules: [{name: a, images: [r.io/**], percent: §101}]\n", "rules[0].percent: at most 100 is wanted"),
    "percent a word": (HEAD + "rules: [{name: a, images: [r.io/**], percent: §half}]\n", "rules[0].percent: a whole number is wanted"),
    "value of a choice": (HEAD + "rules: [{name: a, images: [r.io/**], onFailure: §reject}]\n", 'rules[0].onFailure: admit or refuse is wanted (did you mean "refuse"?)'),
    "value of a choice, nearly": (HEAD + "rules: [{name: a, images: [r.io/**], write: §tagAndDigst}]\n", 'rules[0].write: digest, tagAndDigest, tag or record is wanted (did you mean "tagAndDigest"?)'),
    "default": (HEAD + RULE + "defaults: {pin: §never}\n", "defaults.pin: rollout, pod or off is wanted"),
    "selector's operator": (HEAD + "rules: [{name: a, images: [r.io/**], podSelector: {matchExpressions: [§{key: a, operator: In}]}}]\n", "rules[0].podSelector.matchExpressions[0]: In needs values"),
    "selector's values": (HEAD + "rules: [{name: a, images: [r.io/**], podSelector: {matchExpressions: [§{key: a, operator: Exists, values: [x]}]}}]\n", "rules[0].podSelector.matchExpressions[0]: Exists takes no values"),
    "target without image": (HEAD + RULE + "targets: {t: §{paths: ['**']}}\n", "targets.t.image: this key is missing"),
    "template without path": (HEAD + RULE + "targets: {t: {image: §t.io/cache}}\n", 'targets.t.image: every image would get the same name (did you mean "t.io/cache/{path}"?)'),
    "template with the image's own host": (HEAD + RULE + "targets: {t: {image: §'{registry}/{path}'}}\n", "targets.t.image: the host of a target cannot be the image's own"),
    "template with the image's own host inside": (HEAD + RULE + "targets: {t: {image: §'{registry}.t.io/{path}'}}\n", "targets.t.image: the host of a target cannot be made of the image's own name"),
    "template with an unknown name": (HEAD + RULE + "vars: {region: a}\ntargets: {t: {image: §'t.io/{regoin}/{path}'}}\n", 'targets.t.image: there is no placeholder or variable {regoin} (did you mean "region"?)'),
    "template with a name like nothing": (HEAD + RULE + "targets: {t: {image: §'t.io/{zz}/{path}'}}\n", "targets.t.image: there is no placeholder or variable {zz} (there is registry, path, repository)"),
    "template with half a brace": (HEAD + RULE + "targets: {t: {image: §'t.io/{path'}}\n", "targets.t.image: a brace without its other half"),
    "template with a scheme": (HEAD + RULE + "targets: {t: {image: §'http://t.io/{path}'}}\n", 'targets.t.image: write it without scheme (did you mean "t.io/{path}"?)'),
    "template that is no name": (HEAD + RULE + "targets: {t: {image: §'t.io/UP/{path}'}}\n", "targets.t.image: it gives no image name: 't.io/UP/team/app': the path must be lower-case"),
    "verify": (HEAD + RULE + TARGET + "verify: §maybe}}\n", "targets.t.verify: off, digest or a mapping is wanted"),
    "verify at without scheme": (HEAD + RULE + TARGET + "verify: {at: §'c.io/{path}'}}}\n", "targets.t.verify.at: write it as http://host/{path} or https://host/{path}"),
    "verify's platform": (HEAD + RULE + TARGET + "verify: {platforms: [§amd64]}}}\n", 'targets.t.verify.platforms[0]: "amd64" is no platform; write it as linux/amd64'),
    "health of nothing": (HEAD + RULE + TARGET + "health: §{ready: 90%}}}\n", "targets.t.health: write either daemonSet: namespace/name or url: http://…"),
    "variable of the wrong type": (HEAD + RULE + "vars: {a: §[1]}\n", "vars.a: a text, or a table {from: …, map: …} is wanted"),
    "variable that is a placeholder": (HEAD + RULE + "vars: {§path: x}\n", "vars.path: {path} already stands for a part of the image"),
    "variable's name": (HEAD + RULE + "vars: {§a-b: x}\n", "vars.a-b: a variable's name is made of letters, digits and underscores"),
    "table of nothing": (HEAD + RULE + "vars: {reg: x, t: {from: §rge, map: {x: y}}}\n", 'vars.t.from: there is no variable "rge" (did you mean "reg"?)'),
    "table without the value": (HEAD + RULE + "vars: {reg: z, t: {from: reg, map: §{x: y, w: v}}}\n", 'vars.t.map: no entry for "z", the value of reg (there is x, w)'),
    "table without from": (HEAD + RULE + "vars: {t: §{map: {x: y}}}\n", "vars.t: write a text, or a table as {from: region, map: {…}}"),
    "registry with a scheme": (HEAD + RULE + "registries: {§'https://s.io/x': {}}\n", 'registries["https://s.io/x"]: "https://s.io/x" is no host (did you mean "s.io"?)'),
    "registry with **": (HEAD + RULE + "registries: {§'**.s.io': {}}\n", 'registries["**.s.io"]: only * within one label may stand in a host'),
    "registry under two names": (HEAD + RULE + "registries: {docker.io: {}, §index.docker.io: {}}\n", 'registries["index.docker.io"]: docker.io stands here twice'),
    "registry with a port that does not exist": (HEAD + RULE + "registries: {§'r.io:99999': {}}\n", 'registries["r.io:99999"]: "r.io:99999" has a port that does not exist'),
    "no credentials": (HEAD + RULE + "registries: {r.io: {credentials: §[]}}\n", 'registries["r.io"].credentials: at least one is wanted; anonymous asks without a login'),
    "credentials for nobody": (HEAD + RULE + "registries: {r.io: {credentials: [{kind: file, file: x.json, namespaces: §[]}]}}\n", 'registries["r.io"].credentials[0].namespaces: at least one pattern is wanted; leave the key out to match everything'),
    "credentials for no path": (HEAD + RULE + "registries: {r.io: {credentials: [{kind: file, file: x.json, paths: §[]}]}}\n", 'registries["r.io"].credentials[0].paths: at least one pattern is wanted; leave the key out to match everything'),
    "credentials for namespaces that are commented out": (HEAD + RULE + "registries: {r.io: {credentials: [{kind: ecr, namespaces: §}]}}\n", 'registries["r.io"].credentials[0].namespaces: a list is wanted'),
    "path of a credential that starts with a slash": (HEAD + RULE + "registries: {r.io: {credentials: [{kind: file, file: x.json, paths: [§/team/**]}]}}\n", 'registries["r.io"].credentials[0].paths[0]: paths start without a slash (did you mean "team/**"?)'),
    "namespace in capitals that would exclude nothing": (HEAD + RULE + "registries: {r.io: {credentials: [{kind: file, file: x.json, namespaces: ['*', §'!Team-*']}]}}\n", 'registries["r.io"].credentials[0].namespaces[1]: names of namespaces are made of a-z, 0-9 and - (did you mean "team-*"?)'),
    "namespace that no name can be": (HEAD + "rules: [{name: a, images: [r.io/**], namespaces: [§team/web]}]\n", "rules[0].namespaces[0]: names of namespaces are made of a-z, 0-9 and -"),
    "path of a target with a tag": (HEAD + RULE + TARGET + "paths: [§'app:stable']}}\n", 'targets.t.paths[0]: "app:stable" is no path: scheme, port, tag and digest do not belong to it'),
    "path of a target in capitals": (HEAD + RULE + TARGET + "paths: [§Team/**]}}\n", 'targets.t.paths[0]: paths of images are lower-case (did you mean "team/**"?)'),
    "path of a target that ends at a slash": (HEAD + RULE + TARGET + "paths: [§team/]}}\n", 'targets.t.paths[0]: it ends at a slash (did you mean "team/**"?)'),
    "target of no path": (HEAD + RULE + TARGET + "paths: §[]}}\n", "targets.t.paths: at least one pattern is wanted; leave the key out to match everything"),
    "nothing where a name is wanted": (HEAD + "rules: [{name: a, images: [r.io/**], targets: [§null]}]\n", "rules[0].targets[0]: a text is wanted"),
    "nothing where images are wanted": (HEAD + "rules: [{name: a, images: §null}]\n", "rules[0].images: a list is wanted"),
    "realm with a scheme": (HEAD + RULE + "registries: {r.io: {realms: [§'https://auth.io/token']}}\n", 'registries["r.io"].realms[0]: this is no host; write it without scheme and path, as auth.example.com (did you mean "auth.io"?)'),
    "proxy": (HEAD + RULE + "registries: {r.io: {proxy: §'proxy:3128'}}\n", 'registries["r.io"].proxy: this is no URL of a proxy; write it as http://proxy.example.com:3128'),
    "login of a proxy": (HEAD + RULE + "resolving: {proxy: §'http://me:hunter2@proxy:3128'}\n".replace("hunter2", marked("hunter2")), "resolving.proxy: a login does not belong in this file; let the proxy know the webhook by its address"),
    "requests in flight": (HEAD + RULE + "registries: {r.io: {maxInFlight: §0}}\n", 'registries["r.io"].maxInFlight: at least 1 is wanted'),
    "truth": (HEAD + RULE + "registries: {r.io: {plainHTTP: §maybe}}\n", 'registries["r.io"].plainHTTP: true or false is wanted'),
    "kind of credential": (HEAD + RULE + "registries: {r.io: {credentials: [§pods]}}\n", 'registries["r.io"].credentials[0]: pod, file, ecr, acr, gar or anonymous is wanted (did you mean "pod"?)'),
    "file credential without file": (HEAD + RULE + "registries: {r.io: {credentials: [§file]}}\n", 'registries["r.io"].credentials[0]: write the docker config\'s path, as {file: docker.json}'),
    "file for another kind": (HEAD + RULE + "registries: {r.io: {credentials: [§{kind: pod, file: x}]}}\n", 'registries["r.io"].credentials[0]: pod takes no file'),
    "authorities that are not there": (HEAD + RULE + "registries: {r.io: {ca: §nope.pem}}\n", 'registries["r.io"].ca: nope.pem cannot be read: No such file or directory'),
    "authorities that are half written": (HEAD + RULE + "resolving: {ca: §half.pem}\n", "resolving.ca: half.pem holds a certificate without an end"),
    "authorities that are broken": (HEAD + RULE + "resolving: {ca: §broken.pem}\n", "resolving.ca: broken.pem holds a certificate that cannot be read, number 1"),
    "authorities that are not written yet": (HEAD + RULE + "registries: {r.io: {ca: §empty.pem}}\n", 'registries["r.io"].ca: empty.pem holds no certificate in PEM form'),
    "authorities that are none": (HEAD + RULE + "resolving: {ca: §not.pem}\n", "resolving.ca: not.pem holds no certificate in PEM form"),
    "authorities that are a folder": (HEAD + RULE + "registries: {r.io: {ca: §.}}\n", 'registries["r.io"].ca: . cannot be read: Is a directory'),
    "authorities that go on for ever": (HEAD + RULE + "registries: {r.io: {ca: §endless}}\n", 'registries["r.io"].ca: endless cannot be read: File too large'),
    "lock that goes on for ever": (HEAD + RULE + "digests: §endless\n", "digests: endless cannot be read: File too large"),
    "authorities without a name": (HEAD + RULE + "registries: {r.io: {ca: §''}}\n", 'registries["r.io"].ca: the name of a file is wanted'),
    "lock with a name that no file has": (HEAD + RULE + 'digests: §"\\0"\n', "digests: the name of a file is wanted"),
    "login with a name that no file has": (HEAD + RULE + 'registries: {r.io: {credentials: [{file: §"\\0"}]}}\n', 'registries["r.io"].credentials[0].file: the name of a file is wanted'),
    "lock that is not there": (HEAD + RULE + "digests: §nope.yaml\n", "digests: nope.yaml cannot be read: No such file or directory"),
    "duration without unit": (HEAD + RULE + "resolving: {fresh: §30}\n", 'resolving.fresh: "30" is no duration; write it as 500ms, 4s, 5m or 24h (did you mean "30s"?)'),
    "duration in days": (HEAD + RULE + "resolving: {stale: §1d}\n", 'resolving.stale: "1d" is no duration; write it as 500ms, 4s, 5m or 24h'),
    "budget of nothing": (HEAD + RULE + "resolving: {budget: §0s}\n", "resolving.budget: more than 0s is wanted"),
    "budget of minutes": (HEAD + RULE + "resolving: {budget: §5m}\n", "resolving.budget: at most 30s is wanted"),
    "entries": (HEAD + RULE + "resolving: {entries: §many}\n", "resolving.entries: a whole number is wanted"),
    "template of a kind": (HEAD + RULE + "templates: {Rollout.argoproj.io: §spec.template}\n", 'templates["Rollout.argoproj.io"]: "spec.template" is no JSON pointer; write it as /spec/template'),
    "kind of a template": (HEAD + RULE + "templates: {§argoproj.io/Rollout: /spec/template}\n", 'templates["argoproj.io/Rollout"]: "argoproj.io/Rollout" is no kind; write it as Rollout.argoproj.io'),
    "one name for two registries, by tag": (HEAD + TARGET + "}}\nrules: [{name: a, images: [r.io/**], targets: [t], write: tag}, {name: b, images: [s.io/**], targets: [§t], write: tag}]\n", "rules[1].targets[0]: t would hold images of r.io and of s.io under the same names"),
    "one name for every registry, by tag": (HEAD + "rules: [{name: a, images: ['**'], targets: [§t.io], write: tag}]\n", "rules[0].targets[0]: t.io would hold images of every registry that ** matches under the same names"),
    "line breaks and colours in a value": (HEAD + 'rules: [{name: a, images: [r.io/**], targets: [§"t\\n\\e[31m"]}]\n', 'rules[0].targets[0]: there is no target "t\\n\\x1b[31m", and it is no host'),
    "a line break in a key": (HEAD + RULE + '§"a\\nb": 1\n', "a\\nb: unknown key"),
    "two documents": (HEAD + RULE + "---\n§a: 1\n", "the file holds more than one document"),
    "broken YAML": (HEAD + "rules: [\n§", "not YAML: did not find expected node content"),
    "tab": (HEAD + "rules:\n§\t- name: a\n", "a tab may not indent YAML; use spaces"),
}  # fmt: skip


def problems(folder: Path, text: str, **more: object) -> list[str]:
    path = folder / "m.yaml"
    path.write_text(text)
    (folder / "not.pem").write_text("hello")
    (folder / "empty.pem").touch()
    with (folder / "endless").open("wb") as hollow:
        hollow.truncate(MOST + 1)
    (folder / "half.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIBpTCCAUug")
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIBpTCCAUug\n-----END CERTIFICATE-----\n")
    with pytest.raises(BadConfiguration) as caught:
        load(path, environ={}, **more)  # type: ignore[arg-type]  # what a row says
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def place(text: str) -> str:
    before = text.partition("§")[0]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.mark.parametrize("name", MISTAKES)
def test_tells_each_mistake_alone_and_in_its_place(name: str, tmp_path: Path) -> None:
    text, message = MISTAKES[name]
    assert problems(tmp_path, text.replace("§", "")) == [f"m.yaml:{place(text)}: {message}"]


def test_tells_mistakes_of_all_sorts_at_once(tmp_path: Path) -> None:
    text = """apiVersion: moorage.dev/v1
kind: Configuration
vars: {bad: [1]}
targets:
  broken: 5
  spelt: {imag: "x.io/{path}"}
  used: {image: "{bad}/{path}"}
rules:
  - 5
  - name: same
    images: ["bad[", nginx]
    targets: [broken, used, nowhere]
  - images: [r.io]
    resolve: fresh
  - name: same
    images: [r.io/**]
resolving: {fresh: 30}
resolving: {}
digests: lock.yaml
"""
    (tmp_path / "lock.yaml").write_text(f"a//x: {DIGEST}\na/b: sha256:12\na/c: {DIGEST}\na/c: {DIGEST}\n")
    assert [one.partition(": ")[0] for one in problems(tmp_path, text)] == [
        "lock.yaml:1:1",
        "lock.yaml:2:6",
        "lock.yaml:4:1",
        "m.yaml:1:13",
        "m.yaml:3:13",
        "m.yaml:5:11",
        "m.yaml:6:10",
        "m.yaml:6:11",
        "m.yaml:9:5",
        "m.yaml:11:14",
        "m.yaml:11:22",
        "m.yaml:12:29",
        "m.yaml:13:5",
        "m.yaml:13:14",
        "m.yaml:14:5",
        "m.yaml:15:11",
        "m.yaml:17:20",
        "m.yaml:18:1",
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "m.yaml:1:1: the file is empty; the smallest that works is"),
        (b"# only a comment\n", "m.yaml:1:1: the file is empty; the smallest that works is"),
        (b"a: \xff", "m.yaml:1:4: the file is not UTF-8 text"),
        (b"a: \x00", "m.yaml:1:4: the file is binary"),
        (b"a: &x [*x]", "m.yaml:1:4: the document is nested too deeply, or its aliases multiply"),
    ],
)
def test_refuses_files_that_cannot_be_read(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(data)
    with pytest.raises(BadConfiguration) as caught:
        load(path, environ={})
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_refuses_a_file_that_goes_on_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    with path.open("wb") as hollow:
        hollow.truncate(MOST + 1)
    with pytest.raises(BadConfiguration, match=r"m\.yaml:1:1: cannot be read: File too large"):
        load(path, environ={})


def test_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"nope\.yaml:1:1: cannot be read: No such file or directory"):
        load(tmp_path / "nope.yaml", environ={})


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("r.io/**", "this is no rule; write it as 'registry.example.com/**=localhost:30081'"),
        ("nginx=l.io", '"nginx" is no registry host (did you mean "docker.io/library/nginx"?)'),
        ("r.io/**=cache", 'there is no target "cache", and it is no host'),
        ("r.io/a b=l.io", "a pattern may not be empty or hold blanks"),
    ],
)
def test_tells_mistakes_of_flags(flag: str, message: str, tmp_path: Path) -> None:
    assert problems(tmp_path, HEAD + RULE, rules=["ok.io/**=", flag]) == [f"--rule '{flag}': {message}"]


WARNINGS = {
    "shadowed by a wider one": (HEAD + "rules: [{name: a, images: [r.io/**]}, §{name: b, images: [r.io/team/*, r.io/x]}]\n", 'rules[1]: it never decides: "a" before it takes the same images'),
    "shadowed by everything": (HEAD + "registries: {'*.io': {}}\nrules: [{name: a, images: ['**']}, §{name: b, images: [r.io/**]}]\n", 'rules[1]: it never decides: "a" before it takes the same images'),
    "shadowed by two": (HEAD + "rules: [{name: a, images: [r.io/**]}, {name: b, images: [s.io/**]}, §{name: c, images: [r.io/x, s.io/y]}]\n", 'rules[2]: it never decides: "a" and "b" before it takes the same images'),
    "shadowed under the same conditions": (HEAD + "rules: [{name: a, images: [r.io/**], tags: [x]}, §{name: b, images: [r.io/x], tags: [x]}]\n", 'rules[1]: it never decides: "a" before it takes the same images'),
    "one name for two registries": (HEAD + "rules: [{name: a, images: [r.io/**], targets: [t.io]}, {name: b, images: [s.io/**], targets: [§t.io]}]\n", "rules[1].targets[0]: t.io would hold images of r.io and of s.io under the same names"),
    "cloud of another host": (HEAD + RULE + "registries: {r.io: {credentials: [§ecr]}}\n", 'registries["r.io"].credentials[0]: ecr logs in at ACCOUNT.dkr.ecr.REGION.amazonaws.com and public.ecr.aws only; this entry contributes nothing'),
    "cloud of another cloud's host": (HEAD + RULE + "registries: {'acmeprod.azurecr.io': {credentials: [acr, §gar]}}\n", 'registries["acmeprod.azurecr.io"].credentials[1]: gar logs in at REGION-docker.pkg.dev and gcr.io only; this entry contributes nothing'),
    "cloud of hosts that are not all its own": (HEAD + RULE + "registries: {'*.io': {credentials: [§acr]}}\n", 'registries["*.io"].credentials[0]: acr logs in at NAME.azurecr.io, .cn and .us only; this entry contributes nothing'),
    "nobody before somebody": (HEAD + RULE + "registries: {r.io: {credentials: [pod, §anonymous, pod]}}\n", 'registries["r.io"].credentials[1]: anonymous is asked before what stands behind it; it belongs at the end'),
    "docker config that is not there": (HEAD + RULE + "registries: {r.io: {credentials: [§{file: d.json}]}}\n", 'registries["r.io"].credentials[0]: d.json cannot be read; this entry contributes nothing until it is there'),
    "health": (HEAD + RULE + TARGET + "health: §{url: 'http://x'}}}\n", "targets.t.health: health is not watched in this version; the target is taken to be well"),
    "asking the node's own address": (HEAD + RULE + "targets: {t: {image: 'localhost:1/{path}', verify: §digest}}\n", "targets.t.verify: localhost:1 is the node's own address, which the webhook cannot ask; write verify: {at: http://…}"),
    "hosts that nothing allows": (HEAD + "rules: [{name: a, images: §['*.io/**']}]\n", "rules[0].images: hosts that only a pattern matches are asked when registries: covers them, and nothing there does"),
    "tags to a cache without password": (HEAD + "rules: [{name: a, images: [r.io/**], targets: §['localhost:1'], write: tag}]\n", "rules[0].targets: localhost:1 asks no password, and a tag is no proof that the Pod may have the image"),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_warns_of_what_is_only_strange(name: str, tmp_path: Path) -> None:
    text, message = WARNINGS[name]
    path = tmp_path / "m.yaml"
    path.write_text(text.replace("§", ""))
    found = load(path, environ={})
    assert [one.removeprefix(f"{tmp_path}/") for one in found.warnings] == [f"m.yaml:{place(text)}: {message}"]


QUIET = {
    "narrower first": "rules: [{name: a, images: [r.io/x]}, {name: b, images: [r.io/**]}]\n",
    "earlier has conditions": "rules: [{name: a, images: [r.io/**], tags: [x]}, {name: b, images: [r.io/**]}]\n",
    "earlier excludes": "rules: [{name: a, images: [r.io/**, '!r.io/x']}, {name: b, images: [r.io/x]}]\n",
    "registry in the target's path": "targets: {t: {image: 't.io/{registry}/{path}'}}\nrules: [{name: a, images: [r.io/**, s.io/**], targets: [t], write: tag}]\n",
    "paths apart": "rules: [{name: a, images: [r.io/a/**, s.io/b/**], targets: [t.io], write: tag}]\n",
    "nothing written": "rules: [{name: a, images: [r.io/**, s.io/**], targets: [t.io], write: record}]\n",
    "clouds": "registries: {'*.dkr.ecr.*.amazonaws.com': {credentials: [ecr]}, '*.azurecr.io': {credentials: [{kind: acr, namespaces: [a]}]}, '*-docker.pkg.dev': {credentials: [gar]}}\n" + RULE,
    "loopback that may be asked": "registries: {'localhost:1': {allowLoopback: true, plainHTTP: true}}\ntargets: {t: {image: 'localhost:1/{path}', verify: digest}}\n" + RULE,
}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_is_quiet_about_what_is_meant(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + QUIET[name])
    assert load(path, environ={}).warnings == ()


def test_warns_of_variables_that_nothing_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(HEAD + "vars: {region: a}\n" + RULE)
    (warning,) = load(path, environ={}, variables={"regoin": "b"}).warnings
    assert warning.endswith(
        '--set regoin: nothing in the configuration asks for this variable (did you mean "region"?)'
    )


KEYS = st.sampled_from(
    ["apiVersion", "kind", "vars", "registries", "targets", "rules", "templates", "digests", "defaults", "resolving", "name",
     "images", "tags", "namespaces", "containers", "upstream", "podSelector", "matchLabels", "matchExpressions", "pin", "write",
     "percent", "image", "paths", "verify", "at", "platforms", "health", "url", "from", "map", "value", "credentials", "file",
     "proxy", "ca", "realms", "maxInFlight", "plainHTTP", "fresh", "budget", "r.io", "t"]
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["r.io/**", "t", "r.io", "{path}", "t.io/{path}", "{registry}", "30s", "50%", "!x", "**", "[", "not.pem", ".", "off", "digest", "http://p:1", "\0"])
    | st.text(max_size=5)
)  # fmt: skip
INNER = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
RULES = st.lists(st.dictionaries(KEYS, INNER, max_size=5) | INNER, max_size=3)


@many(60)
@given(
    top=st.dictionaries(KEYS, INNER, max_size=4),
    rules=RULES,
    targets=st.dictionaries(
        st.sampled_from(["t", "u", ""]), st.dictionaries(KEYS, INNER, max_size=4) | INNER, max_size=2
    ),
    registries=st.dictionaries(
        st.sampled_from(["r.io", "*.io", "x/y"]), st.dictionaries(KEYS, INNER, max_size=4) | INNER, max_size=2
    ),
)
def test_no_configuration_is_a_fault_of_ours(
    tmp_path_factory: pytest.TempPathFactory,
    top: dict[str, object],
    rules: list[object],
    targets: dict[str, object],
    registries: dict[str, object],
) -> None:
    whole = {"apiVersion": "moorage.dev/v1alpha1", "kind": "Configuration", "rules": rules, "targets": targets, "registries": registries, **top}  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(whole))
    try:
        load(path, environ={})
    except BadConfiguration as bad:
        told = [str(problem) for problem in bad.problems]
        assert all(one.startswith(f"{path}:1:") for one in told)
        assert len(told) == len(set(told))
