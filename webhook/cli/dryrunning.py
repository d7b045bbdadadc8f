"""What `check --server` does: each template goes as a Pod to the API server, in a dry run, and its answer is shown."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from webhook.cli.forms import Result
from webhook.cli.manifests import Found, Withheld
from webhook.cli.progress import done_with_bar
from webhook.core.broken import UNREADABLE
from webhook.core.dryrun import Verdict, admitted, pod_of, refused, verdict
from webhook.core.subject import template_in
from webhook.kube import Answer, Kube, named, said

WEBHOOKS: Final = 10.0
"""Seconds that the API server may need for its webhooks, on top of what a registry may."""


async def answers(
    found: Sequence[Found], kube: Kube, templates: Mapping[str, str], within: float
) -> list[Result | Withheld]:
    """The cluster's own answer for each object, in order."""

    async def ask(one: Found) -> Result | Withheld:
        if not one.may_change:
            return Withheld(one.place, "a change of a Pod cannot be sent again as a Pod", was_asked=True)
        template = template_in(one.manifest, templates)
        pod = pod_of(template if isinstance(template, Mapping) else {}, one.subject, one.owners)
        deadline = asyncio.get_running_loop().time() + within + WEBHOOKS
        path = named("api", "v1", "namespaces", one.subject.namespace, "pods")
        return heard(one, await kube.send("POST", path, pod, deadline=deadline, query={"dryRun": "All"}))

    return await done_with_bar("asking the cluster", map(ask, found))


def heard(found: Found, answer: Answer) -> Result | Withheld:
    """An answer as a result."""
    message = said(answer)
    match verdict(answer.status, message):
        case Verdict.ADMITTED:
            try:
                decisions = admitted(found.subject, answer.body, answer.warnings)
            except UNREADABLE:
                return Withheld(found.place, "the API server answers something that is no Pod", was_asked=False)
            return Result(found, decisions, list(answer.warnings))
        case Verdict.REFUSED if found.subject.slots:
            return Result(found, refused(found.subject, message), [*answer.warnings, message])
        case Verdict.REFUSED | Verdict.NO_NAMESPACE:
            return Withheld(found.place, message, was_asked=True)
        case Verdict.UNASKED:
            return Withheld(found.place, message, was_asked=False)
