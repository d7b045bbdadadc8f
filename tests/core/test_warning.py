"""What registries want their users to read, and what is no such thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.warning import MAX_TEXT, MAX_WARNINGS, texts


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        (['299 - "Your auth token will expire in 30 seconds."'], ["Your auth token will expire in 30 seconds."]),
        (['299 - "one"', '299 - "two"'], ["one", "two"]),
        (['299 - "one", 299 - "two"'], ["one", "two"]),
        (['299 - "a, 299 - b"'], ["a, 299 - b"]),
        (['299 - "say \\"yes\\" to \\\\"'], ['say "yes" to \\']),
        (['299 - "one" "Wed, 21 Oct 2015 07:28:00 GMT"'], ["one"]),
        (['299 - "\x1b[2Jcl\u00e9ar"'], ["?[2Jcl?ar"]),
        (['299 - ""'], [""]),
        # Other codes and agents are not the registry's own word (distribution-spec, Warnings).
        (['199 - "old"', '110 anderson "stale"', '299 proxy.example.com "rewritten"'], []),
        (['199 - "old", 299 - "new"'], ["new"]),
        (["299 - bare", '299 - "open', "299", "", '1299 - "x"'], []),
        ([f'299 - "{"x" * 2000}"'], ["x" * MAX_TEXT]),
        ([f'299 - "{"x" * 3000}"', f'299 - "{"y" * 3000}"'], ["x" * MAX_TEXT]),
    ],
)
def test_reads_warnings(lines: list[str], expected: list[str]) -> None:
    assert texts(lines) == expected


@given(st.lists(st.text(st.sampled_from('299 -",\\ax')) | st.text(), max_size=4))
def test_whatever_a_header_holds_what_is_read_is_short_and_can_be_shown(lines: list[str]) -> None:
    found = texts(lines)
    assert sum(map(len, found)) <= MAX_WARNINGS
    assert all(text.isprintable() and text.isascii() for text in found)
