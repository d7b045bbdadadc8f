"""Image names made up from the grammar of distribution/reference."""

from hypothesis import strategies as st

from webhook.core.reference import Reference

_label = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,6}[a-zA-Z0-9])?", fullmatch=True)
_hosts = st.one_of(
    st.just("localhost"),
    st.builds(".".join, st.lists(_label, min_size=2, max_size=4)),
    st.from_regex(r"\[[a-fA-F0-9]{0,4}:[a-fA-F0-9:]{1,9}\]", fullmatch=True),
)
_ports = st.one_of(st.just(""), st.integers(0, 99999).map(lambda port: f":{port}"))
_parts = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_digests = st.sampled_from([("sha256", 64), ("sha384", 96), ("sha512", 128)]).flatmap(
    lambda kind: st.text("0123456789abcdef", min_size=kind[1], max_size=kind[1]).map(lambda text: f"{kind[0]}:{text}")
)
IMAGES = st.builds(
    Reference,
    st.builds(str.__add__, _hosts, _ports).filter(lambda host: host not in {"docker.io", "index.docker.io"}),
    st.lists(_parts, min_size=1, max_size=4).map("/".join),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | _digests,
)
