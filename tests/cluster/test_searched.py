"""The search of what a cluster keeps finds a secret in an Event."""

import pytest

from tests.cluster.namespace import Namespace
from tests.cluster.searched import search_events
from tests.support.canary import WRITTEN, marked


@pytest.mark.parametrize("everywhere", [False, True], ids=["of the namespace", "of all"])
def test_a_secret_in_an_event_is_found(namespace: Namespace, *, everywhere: bool) -> None:
    search_events(namespace.api, "" if everywhere else namespace.name)
    assert WRITTEN.taken() == []
    about = {"kind": "Pod", "namespace": namespace.name, "name": "app"}
    namespace.create(
        {"kind": "Event", "metadata": {"name": "told"}, "involvedObject": about, "message": marked("too much")}
    )
    search_events(namespace.api, "" if everywhere else namespace.name)
    (leak,) = WRITTEN.taken()
    assert leak.where == f"an Event in {namespace.name}"
    # It would be found once more at the end of this test.
    namespace.delete("Event", "told")
