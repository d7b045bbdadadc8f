"""Which hosts are a cloud's own, and what their names say."""

import pytest

from webhook.core.clouds import AZURE, EcrPlace, azure_cloud, ecr_place, is_google, serves

ACCOUNT = "123456789012"
WEST = "eu-west-1"


# amazon-ecr-credential-helper, ecr-login/api/client_test.go, and AWS's list of endpoints
@pytest.mark.parametrize(
    ("host", "place"),
    [
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", EcrPlace(WEST)),
        (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", EcrPlace("us-gov-west-1", fips=True)),
        (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", EcrPlace("cn-north-1")),
        (f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu", EcrPlace("eusc-de-east-1")),
        (f"{ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov", EcrPlace("us-iso-east-1")),
        (f"{ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", EcrPlace("us-isob-east-1")),
        (f"{ACCOUNT}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", EcrPlace("eu-isoe-west-1")),
        (f"{ACCOUNT}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", EcrPlace("us-isof-south-1")),
        (f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws", EcrPlace("us-west-2", dual_stack=True)),
        (f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws", EcrPlace("us-west-2", fips=True, dual_stack=True)),
        (
            f"{ACCOUNT}.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
            EcrPlace("cn-northwest-1", dual_stack=True),
        ),
        ("public.ecr.aws", EcrPlace("us-east-1", is_public=True)),
        ("ecr-public.aws.com", EcrPlace("us-east-1", is_public=True)),
        ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", None),
        (f"x{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", None),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com:8443", None),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com\n", None),
        (f"{ACCOUNT}.dkr.ecr.evil.example/.amazonaws.com", None),
        (f"{ACCOUNT}.dkr.ecr.a.b.amazonaws.com", None),
        (f"{ACCOUNT}.dkr.ecr..amazonaws.com", None),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.evil", None),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.on.aws.evil", None),
        (f"{ACCOUNT}xdkr.ecr.eu-west-1.amazonaws.com", None),
        ("evil-public.ecr.aws", None),
        ("٣" * 12 + ".dkr.ecr.eu-west-1.amazonaws.com", None),
    ],
)
def test_ecr(host: str, place: EcrPlace | None) -> None:
    assert ecr_place(host) == place


@pytest.mark.parametrize(
    ("host", "suffix"),
    [
        ("acmeprod.azurecr.io", "io"),
        ("acmeprod-a1b2c3d4e5f6g7h8.azurecr.io", "io"),
        ("acmeprod.westeurope.geo.azurecr.io", "io"),
        ("acmeprod.azurecr.cn", "cn"),
        ("acmeprod.azurecr.us", "us"),
        ("acmeprod.azurecr.io.evil.example", None),
        ("acmeprod.azurecr.evil", None),
        ("evil.example.azurecr.io", None),
        ("acmeprod.azurecr.io:443", None),
        ("azurecr.io", None),
        (".azurecr.io", None),
        ("evilazurecr.io", None),
    ],
)
def test_acr(host: str, suffix: str | None) -> None:
    assert azure_cloud(host) == (AZURE[suffix] if suffix is not None else None)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("europe-west1-docker.pkg.dev", True),
        ("us-docker.pkg.dev", True),
        ("gcr.io", True),
        ("eu.gcr.io", True),
        ("k8s.gcr.io", True),
        ("pkg.dev", False),
        ("a.b.pkg.dev", False),
        ("europe-docker.pkg.dev.evil.example", False),
        ("evilgcr.io", False),
        ("gcr.io:443", False),
        ("googleapis.com", False),
        ("registry.google.com", False),
    ],
)
def test_gar(host: str, *, expected: bool) -> None:
    assert is_google(host) is expected


@pytest.mark.parametrize(
    ("kind", "pattern", "expected"),
    [
        ("ecr", "*.dkr.ecr.eu-west-1.amazonaws.com", True),
        ("ecr", f"{ACCOUNT}.dkr.ecr.*.amazonaws.com", True),
        ("ecr", "*.dkr.ecr.*.*", False),
        ("ecr", "*.amazonaws.com", False),
        ("acr", "*.azurecr.io", True),
        ("acr", "acme*.azurecr.io", True),
        ("acr", "acmeprod.*.geo.azurecr.io", True),
        ("acr", "acmeprod.*", False),
        ("gar", "*-docker.pkg.dev", True),
        ("gar", "*.gcr.io", True),
        ("gar", "*.io", False),
    ],
)
def test_a_pattern_is_a_clouds_own_only_where_every_host_is(kind: str, pattern: str, *, expected: bool) -> None:
    assert serves(kind, pattern) is expected
