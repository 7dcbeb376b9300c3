"""CRLs of own CAs: built from the inventory, signed, published, served (RFC 5280 5)."""

from certs.status.crl.points import points_of
from certs.status.crl.publish import CRLWithheld, needs_new_crl, publish_crl
from certs.status.crl.segments import changed

__all__ = ["CRLWithheld", "changed", "needs_new_crl", "points_of", "publish_crl"]
