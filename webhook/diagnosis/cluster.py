"""What the API server's version means for us."""

from typing import Final

import msgspec

from webhook.diagnosis.finding import Check, Finding, doubtful, fine, wrong

TESTED: Final = 36
"""The minor that the tests run: v1.36."""
_OLDEST: Final = 16

_SINCE: Final = (
    (25, "pods/ephemeralcontainers is not there, so images of kubectl debug are not decided on"),
    (28, "matchConditions are dropped, so Moorage is asked about every Pod; that costs time, no more"),
    (29, "flowcontrol.apiserver.k8s.io/v1 is not there: leave the FlowSchema out of the install"),
    (30, "ValidatingAdmissionPolicy v1 is not there: leave the policy of moorage-adopt out of the install"),
)
"""What is missing before a minor (feature gates of Kubernetes: EphemeralContainers stable in 1.25, AdmissionWebhookMatchConditions
beta and on in 1.28, flowcontrol v1 in 1.29, ValidatingAdmissionPolicy stable in 1.30)."""


class Version(msgspec.Struct, rename="camel"):
    """What /version says; `minor` may have a plus behind it (GKE, EKS)."""

    major: str = ""
    minor: str = ""
    git_version: str = ""

    @property
    def number(self) -> int:
        """The minor; 0 where it is none."""
        digits = self.minor.rstrip("+")
        return int(digits) if digits.isascii() and digits.isdigit() else 0


def judge(version: Version, host: str) -> Finding:
    """Whether this API server can work with us."""
    looked = f"API server at {host}"
    shown = version.git_version or f"v{version.major}.{version.minor}"
    if version.major != "1" or not version.number:
        return doubtful(Check.CLUSTER, looked, f"it calls itself {shown}", "nobody knows whether Moorage works there")
    if version.number < _OLDEST:
        return wrong(
            Check.CLUSTER,
            looked,
            f"{shown} does not speak admission.k8s.io/v1",
            f"Moorage needs Kubernetes 1.{_OLDEST} at least; upgrade the control plane",
        )
    missing = [what for since, what in _SINCE if version.number < since]
    if missing:
        return doubtful(
            Check.CLUSTER, looked, f"{shown} is old: {'; '.join(missing)}", "upgrade the control plane, or live with it"
        )
    return fine(Check.CLUSTER, looked, shown)
