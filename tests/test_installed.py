"""What is found of an installation, and what is said where there is none."""

from typing import Any

import pytest

from tests.support.api import FakeApi
from webhook.installed import Installed, NotInstalled, read
from webhook.kube import Answer

CONFIG_MAP = "/api/v1/namespaces/moorage-system/configmaps/moorage"
DEPLOYMENT = "/apis/apps/v1/namespaces/moorage-system/deployments/moorage"
FILE = "apiVersion: moorage.dev/v1alpha1\n"


def installed(*env: dict[str, Any], name: str = "moorage", **files: str) -> FakeApi:
    api = FakeApi()
    api.objects[CONFIG_MAP] = {"metadata": {"name": "moorage"}, "data": {"moorage.yaml": FILE, **files}}
    containers = [
        {"name": "sidecar", "env": [{"name": "MOORAGE_VAR_REGION", "value": "no"}]},
        {"name": name, "env": env},
    ]
    api.objects[DEPLOYMENT] = {"metadata": {}, "spec": {"template": {"spec": {"containers": containers[::-1]}}}}
    return api


async def test_files_and_variables_are_those_of_the_webhook() -> None:
    api = installed(
        {"name": "MOORAGE_VAR_REGION", "value": "eu-west-1"},
        {"name": "MOORAGE_VAR_EMPTY"},
        {"name": "PATH", "value": "/bin"},
        lock="x: y\n",
    )
    assert await read(api) == Installed(
        {"moorage.yaml": FILE, "lock": "x: y\n"}, {"MOORAGE_VAR_REGION": "eu-west-1", "MOORAGE_VAR_EMPTY": ""}
    )


async def test_a_variable_that_comes_from_elsewhere_is_said_to_be_unknown() -> None:
    api = installed({"name": "MOORAGE_VAR_REGION", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    found = await read(api)
    assert found.environ == {}
    assert found.unknown == ("MOORAGE_VAR_REGION: deployment moorage takes its value from elsewhere; --set gives one",)


async def test_a_container_of_another_name_counts_where_it_is_the_first() -> None:
    api = installed({"name": "MOORAGE_VAR_REGION", "value": "eu"}, name="webhook")
    assert (await read(api)).environ == {"MOORAGE_VAR_REGION": "eu"}


async def test_without_the_deployment_the_variables_are_unknown() -> None:
    api = installed()
    del api.objects[DEPLOYMENT]
    assert (await read(api)).unknown == (
        'variables from the environment of deployment moorage: deployments.apps "moorage" not found',
    )


async def test_a_key_that_is_a_way_out_of_its_folder_is_no_file() -> None:
    api = installed(**{"../../evil": "x", "..": "x", "a/b": "x", "tls.crt": "y"})
    assert (await read(api)).files == {"moorage.yaml": FILE, "tls.crt": "y"}


async def test_where_nothing_is_installed_that_is_said() -> None:
    with pytest.raises(NotInstalled, match="not installed there: no configmap moorage in moorage-system") as none:
        await read(FakeApi())
    assert none.value.was_asked


async def test_a_config_map_without_the_file_is_said() -> None:
    api = installed()
    del api.objects[CONFIG_MAP]["data"]["moorage.yaml"]
    with pytest.raises(NotInstalled, match=r"has no key moorage\.yaml"):
        await read(api)


@pytest.mark.parametrize("trouble", [Answer(403), Answer(0, trouble="no route"), Answer(200, b"<html>")])
async def test_an_api_server_that_does_not_say_is_another_matter(trouble: Answer) -> None:
    api = installed()
    api.trouble = trouble
    with pytest.raises(NotInstalled) as none:
        await read(api)
    assert not none.value.was_asked


async def test_what_the_install_brings_along_counts_where_the_operator_has_nothing() -> None:
    api = installed(lock="x: y\n")
    defaults = CONFIG_MAP.replace("configmaps/moorage", "configmaps/moorage-defaults")
    api.objects[defaults] = {"metadata": {}, "data": {"moorage.yaml": "example\n", "lock": "a: b\n"}}
    assert (await read(api)).files == {"moorage.yaml": FILE, "lock": "x: y\n"}
    del api.objects[CONFIG_MAP]["data"]["moorage.yaml"]
    found = await read(api)
    assert (found.files, found.missing) == (
        {"moorage.yaml": "example\n", "lock": "x: y\n"},
        "configmap moorage in moorage-system has no key moorage.yaml",
    )
    del api.objects[CONFIG_MAP]
    found = await read(api)
    assert (found.files["moorage.yaml"], found.missing) == (
        "example\n",
        "there is no configmap moorage in moorage-system",
    )
