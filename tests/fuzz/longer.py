"""How inputs are made longer: what stands before, what is repeated (`#` is its number), and what stands behind."""

from collections.abc import Mapping
from typing import Final

Cut = tuple[bytes, bytes, bytes]

_HEAD: Final = b"apiVersion: moorage.dev/v1alpha1\nkind: Configuration\nrules: []\n"
_RULE: Final = _HEAD.replace(b"[]\n", b"[{name: a, images: [r.io/**]")
_REVIEW: Final = (
    b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE",'
    b'"namespace":"shop","resource":{"version":"v1","resource":"pods"},"object":{"metadata":{'
)

LONGER: Final[Mapping[str, tuple[Cut, ...]]] = {
    "reference": ((b"a/", b"a-", b"!"), (b"", b"a.", b"!"), (b"", b"a/", b"!"), (b"a@", b"a+", b"!")),
    "challenge": (
        (b"Bearer ", b"a#=b,", b""),
        (b"Bearer ", b'a="\\"', b""),
        (b"", b'Bearer realm="x" ', b""),
        (b"", b"a ", b""),
        (b"a", b" ", b"x"),
        (b"a ", b"b=", b"!"),
        (b'a b="', b"\\", b""),
        (b"", b"Bearer\n", b""),
    ),
    "warning": ((b"", b'299 - "', b""), (b"", b',299 - "x"', b""), (b",", b" ", b""), (b',299 - "', b"\\a", b"")),
    "token": ((b'{"token":"', b"x", b'"}'), (b"e30.", b"W10", b"."), (b"", b"[", b"")),
    "review": (
        (_REVIEW + b'},"spec":{"containers":[', b'{"name":"c#","image":"a/b:#"},', b"{}]}}}}"),
        (_REVIEW + b'"annotations":{', b'"a#":"b",', b'"x":"y"}},"spec":{}}}}'),
        (_REVIEW + b'},"spec":{"imagePullSecrets":[', b'{"name":"s#"},', b"{}]}}}}"),
        (_REVIEW + b'},"x":', b"[", b""),
    ),
    "docker-config": (
        (b'{"auths":{', b'"r#.example.com/a":{"auth":"dTpw"},', b'"x":{}}}'),
        (b'{"auths":{', b'"*.example.com/#":{"auth":"dTpw"},', b'"x":{}}}'),
        (b'{"auths":{"', b"*.", b'com":{"auth":"dTpw"}}}'),
        (b'{"auths":{"r.io":{"auth":"', b"dTpw", b'"}}}'),
        (b'{"auths":{', b'"r#.io":{"auth":7},', b'"x":{}}}'),
    ),
    "manifest": (
        (b'{"schemaVersion":2,"manifests":[', b'{"platform":{"os":"linux"}},', b"{}]}"),
        (b'{"schemaVersion":2,"layers":[', b"{},", b"{}]}"),
        (b"", b"[", b""),
    ),
    "configuration": (
        (_HEAD, b"wrong#: 1\n", b""),
        (_HEAD, b"rules: []\n", b""),
        (_HEAD + b"registries:\n", b"  r#.io: {maxInFlight: x}\n", b""),
        (_HEAD + b"registries:\n", b"  r#.io: {maxInFlight: 3}\n", b""),
        (_HEAD + b"targets:\n", b"  t#: {image: 't#.io/{path}'}\n", b""),
        (_HEAD + b"vars:\n", b"  v#: x\n", b""),
        (_HEAD.replace(b"[]", b""), b"  - {name: a#, images: [r.io/#/**], targets: [localhost:30081]}\n", b""),
        (_HEAD.replace(b"[]", b""), b"  - {name: a, images: [r.io/**], targets: [localhost:30081]}\n", b""),
        (_RULE + b", tags: [", b"'a#*', ", b"]}]"),
        (_RULE + b", targets: [", b"'nn#', ", b"]}]"),
        (b"", b"k#: 1\nk#: 1\n", b""),
        (b"", b"k#: 1\n", b"k0: 1\nk0: 1\n"),
        (_HEAD + b"x: &a {", b"a#: b, ", b"}\ny: {<<: *a}\n"),
    ),
    "splice": (
        (b"a: &a {x: b}\n", b"k#: {<<: *a}\n", b""),
        (b"a: &a {x: b}\n", b"k#: &k# {<<: *a, y#: z}\n", b""),
        (b"a: &a b\nl: [", b"*a, ", b"]"),
        (b"", b"--- {a: b}\n", b""),
        (b"", b'{"a":"b"}', b""),
        (b"", b"# x\n", b"---\na: b"),
        (b"", b"---\n# x\n%a\n", b"---\na: b"),
        (b'a: "', b"\\ud800", b'"'),
        (b"", b"k#: |\n  a\n", b""),
        (b"", b"[", b""),
    ),
    "annotation": (
        (b'{"images":{', b'"containers/#":{"from":"a"},', b'"x":{"from":""}}}'),
        (b'abc.1\n{"images":{', b'"r.io/#":"x",', b'"x":""}}'),
        (b"", b"[", b""),
    ),
}
