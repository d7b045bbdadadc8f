"""Moorage: pins floating image tags to upstream digests and points Pods at the nearest copy."""

__version__ = "0.1.0"
