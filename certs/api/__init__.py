"""The REST API at /api/v1/: thin operations over the same use cases as every other channel."""

from certs.api.app import api

__all__ = ["api"]
