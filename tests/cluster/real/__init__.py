"""A real Kubernetes on this machine alone: built here, started here, and nothing of it left behind."""

from typing import Final

DIRECTORY: Final = "MOORAGE_CLUSTER_DIR"
LOGS: Final = "MOORAGE_CLUSTER_LOGS"
"""What a process finds in its environment that was started in a cluster."""
