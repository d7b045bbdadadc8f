"""Asking a rule's upstreams about an image, where it has a name there at all."""

from collections.abc import Generator

from webhook.core.ask import Absent, Ask, AskDigest, Fact
from webhook.core.reference import Reference
from webhook.core.rules import Rule
from webhook.core.subject import Audience


def ask_upstreams(
    rule: Rule, image: Reference, audience: Audience, *, since: float | None = None, anew: bool = False
) -> Generator[Ask, Fact, Fact]:
    """What they say of an image by its tag, or by the digest that it carries. `since` and `anew` as in AskDigest."""
    images = rule.upstreams(image)
    if not images:
        return Absent("", f"{image} at the upstreams of rule {rule.name}")
    return (yield AskDigest(images, audience, since, anew))
