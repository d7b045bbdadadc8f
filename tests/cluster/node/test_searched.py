"""The search of what a cluster keeps finds a secret that a container has printed."""

from tests.cluster.namespace import Namespace
from tests.cluster.node.installing import push_image
from tests.cluster.searched import search_logs
from tests.cluster.upstream import Upstream
from tests.support.canary import WRITTEN, marked
from tests.support.until import until


# The node pulls an image of 144 MB for it.
def test_a_secret_in_the_log_of_a_container_is_found(namespace: Namespace, upstream: Upstream) -> None:
    push_image(upstream)
    teller = {"name": "teller", "image": upstream.image("moorage/moorage", "test")}
    said = [{**teller, "command": ["python", "-c", f"print({marked('too much')!r})"]}]
    spec = {"containers": said, "restartPolicy": "Never"}
    namespace.create({"kind": "Pod", "metadata": {"name": "app"}, "spec": spec})
    until("it has ended", lambda: namespace.get("Pod", "app")["status"]["phase"] in {"Succeeded", "Failed"})
    search_logs(namespace.api, namespace.name)
    (leak,) = WRITTEN.taken()
    assert leak.where == "the log of app"
