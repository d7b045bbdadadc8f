"""Whether a registry answers and takes a login, found out as `docker login` does."""

import pytest

from tests.doors import soon
from tests.support.asking import READER, SECRETS, WRONG, asking, known_as
from tests.support.faults import with_status
from tests.support.registry import PATH, fake_registry
from webhook.core.ask import Absent, Failed, Passed
from webhook.core.credential import ANONYMOUS, Credential
from webhook.core.reason import Reason
from webhook.core.reference import Reference


@pytest.mark.parametrize("login", ["", "basic", "bearer"])
@pytest.mark.parametrize(
    ("who", "passes", "kind"),
    [((READER,), True, "pod"), ((WRONG,), False, "file"), ((WRONG, READER), True, "pod"), ((ANONYMOUS,), False, "")],
    ids=["right", "wrong", "one of two", "nobody"],
)
async def test_a_login_is_taken_or_refused(login: str, who: tuple[Credential, ...], passes: bool, kind: str) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        fake.login = login
        found, taken = await asked.client.greet(Reference(fake.host, PATH), known_as(*who), deadline=soon(5))
        if not login:
            assert (type(found), taken) == (Passed, who[0].kind)
        elif passes:
            assert (type(found), taken) == (Passed, kind)
        else:
            assert isinstance(found, Absent)
            assert (found.denied, taken) == (True, kind)
        assert not [secret for secret in SECRETS if secret in str(found)]
        assert fake.of("manifest") == []


async def test_a_registry_that_fails_is_told_with_its_reason() -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        fake.faults["ping"] = with_status(503)
        found, _ = await asked.client.greet(Reference(fake.host, PATH), known_as(READER), deadline=soon(5))
        assert isinstance(found, Failed)
        assert found.reason is Reason.UNAVAILABLE


async def test_a_host_without_a_registry_is_told_as_such() -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        fake.faults["ping"] = with_status(404)
        found, _ = await asked.client.greet(Reference(fake.host, PATH), known_as(), deadline=soon(5))
        assert isinstance(found, Absent)
        assert not found.denied
