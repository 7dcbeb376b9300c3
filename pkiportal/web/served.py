"""What one process serves (`PKI_SERVE`): everything, or the paths of one service of the compose file.

A service that holds a login to the key backend serves as few paths as it can: a fault in a portal
page or in signing in must not be reachable in the process that may use the CA's key.
"""

from __future__ import annotations

from enum import StrEnum


class Serve(StrEnum):
    ALL = "all"
    PORTAL = "portal"
    CA = "ca"
    STATUS = "status"


CA_PATHS = "/api/v1/certificates/"
STATUS_PATHS = "/pki/"


def serves(serve: Serve, path: str) -> bool:
    """Return whether a process of that kind serves this path; not for machine endpoints."""
    match serve:
        case Serve.CA:
            return path.startswith(CA_PATHS)
        case Serve.STATUS:
            return path.startswith(STATUS_PATHS)
        case Serve.PORTAL:
            return not path.startswith(STATUS_PATHS)
        case Serve.ALL:
            return True
