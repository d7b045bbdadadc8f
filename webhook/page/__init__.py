"""The read-only page: what one process knows, shown to people and, as JSON, to programs. It decides and asks nothing."""
