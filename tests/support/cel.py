"""Evaluates matchConditions as the API server does, with Google's own CEL in another language than the API server's."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

_ENVIRONMENT: Final = cel.NewEnv(
    variables=dict.fromkeys(("object", "oldObject", "request"), cel.Type.DYN), extensions=[ext_strings.ExtStrings()]
)


def lets_through(
    conditions: Iterable[Mapping[str, str]],
    found: Any,
    before: Any = None,
    *,
    operation: str = "CREATE",
    kind: str = "",
) -> bool:
    """Whether all conditions hold.

    Raises:
        AssertionError: one of them fails to evaluate.
    """
    data = {"object": found, "oldObject": before, "request": {"operation": operation, "kind": {"kind": kind}}}
    # All of them: the API server counts one that fails after another that holds.
    every = [_holds(one["expression"], data) for one in conditions]
    return all(every)


def _holds(expression: str, data: dict[str, Any]) -> bool:
    value = _compiled(expression).eval(data=data).value()
    assert isinstance(value, bool), value
    return value


@lru_cache(maxsize=512)
def _compiled(expression: str) -> Any:
    return _ENVIRONMENT.compile(expression)
