"""The portal's own CAs. Settings name the client as `certs.ca.local.LocalCAClient`."""

from certs.ca.local.client import LocalCAClient

__all__ = ["LocalCAClient"]
