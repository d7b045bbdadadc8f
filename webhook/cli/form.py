"""How `moorage check` prints: read by its options and by its work, of which neither reads the other at its start."""

from enum import StrEnum


class Form(StrEnum):
    """The values of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    PATCH = "patch"
    DIFF = "diff"
    IMAGES = "images"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
