"""A real Kubernetes on this machine alone: built here, started here, and nothing of it left behind."""
