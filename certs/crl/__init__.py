"""CRLs of own CAs: built from the inventory, signed, published, served (RFC 5280 5; PROTOCOLS 9)."""

from certs.crl.points import points_of
from certs.crl.publishing import CRLWithheld, needs_new_crl, publish_crl
from certs.crl.segments import changed

__all__ = ["CRLWithheld", "changed", "needs_new_crl", "points_of", "publish_crl"]
