"""As much of the cluster's objects as is judged."""

import msgspec


class Metadata(msgspec.Struct, rename="camel"):
    """Of any object."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class Port(msgspec.Struct, rename="camel"):
    """Of a container."""

    name: str = ""
    container_port: int = 0
    host_port: int = 0


class Container(msgspec.Struct):
    """Of a Pod."""

    name: str = ""
    image: str = ""
    args: list[str] | None = None
    command: list[str] | None = None
    ports: list[Port] | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    """Of a Pod or a template."""

    containers: list[Container] = []
    node_name: str = ""
    host_network: bool = False


class Condition(msgspec.Struct):
    """Of a Pod or a node."""

    type: str = ""
    status: str = ""


class PodStatus(msgspec.Struct):
    """How a Pod is."""

    phase: str = ""
    conditions: list[Condition] | None = None


class Pod(msgspec.Struct):
    """A Pod."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def is_ready(self) -> bool:
        """Whether it says so, and is not about to go."""
        return self.metadata.deletion_timestamp is None and is_ready(self.status.conditions)


class Template(msgspec.Struct):
    """Of the Pods of a workload."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class Selector(msgspec.Struct, rename="camel"):
    """Which Pods a workload counts as its own."""

    match_labels: dict[str, str] | None = None


class WorkloadSpec(msgspec.Struct):
    """Of a Deployment or a DaemonSet."""

    replicas: int = 1
    selector: Selector = msgspec.field(default_factory=Selector)
    template: Template = msgspec.field(default_factory=Template)


class WorkloadStatus(msgspec.Struct, rename="camel"):
    """How its Pods are."""

    ready_replicas: int = 0
    updated_replicas: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0


class Workload(msgspec.Struct):
    """A Deployment or a DaemonSet."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: WorkloadSpec = msgspec.field(default_factory=WorkloadSpec)
    status: WorkloadStatus = msgspec.field(default_factory=WorkloadStatus)

    @property
    def shown(self) -> str:
        """Namespace and name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def words(self) -> tuple[str, ...]:
        """What its containers are started with."""
        return tuple(
            word for one in self.spec.template.spec.containers for word in (*(one.command or ()), *(one.args or ()))
        )


class Address(msgspec.Struct, rename="camel"):
    """A port of a Service. The target is a number or a name."""

    name: str = ""
    port: int = 0
    node_port: int = 0


class ServiceSpec(msgspec.Struct, rename="camel"):
    """Where a Service leads."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    ports: list[Address] | None = None
    selector: dict[str, str] | None = None


class Service(msgspec.Struct):
    """A Service."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)

    @property
    def shown(self) -> str:
        """Namespace and name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"


class Conditions(msgspec.Struct):
    """Of an endpoint; what is not said counts as ready (discovery/v1)."""

    ready: bool | None = None


class Endpoint(msgspec.Struct):
    """One that a Service leads to."""

    addresses: list[str] = []
    conditions: Conditions = msgspec.field(default_factory=Conditions)


class EndpointSlice(msgspec.Struct):
    """Some of those that a Service leads to."""

    endpoints: list[Endpoint] | None = None


class NodeSpec(msgspec.Struct):
    """What is wanted of a node."""

    unschedulable: bool = False


class NodeStatus(msgspec.Struct):
    """How a node is."""

    conditions: list[Condition] | None = None


class Node(msgspec.Struct):
    """A node."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class Namespace(msgspec.Struct):
    """A namespace."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)


class ConfigMap(msgspec.Struct):
    """Texts by key."""

    data: dict[str, str] | None = None


class LeaseSpec(msgspec.Struct, rename="camel"):
    """Who holds a Lease."""

    holder_identity: str | None = None


class Lease(msgspec.Struct):
    """A Lease."""

    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


def is_ready(conditions: list[Condition] | None) -> bool:
    """Whether a Pod or a node says that it is ready."""
    return any(one.type == "Ready" and one.status == "True" for one in conditions or ())
