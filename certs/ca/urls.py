"""The addresses that own CAs write into certificates: plain http, and permanent (RFC 5280 4.2.1.13,
4.2.2.1).
"""

from __future__ import annotations

import re

from django.conf import settings

_SHARD = re.compile(r"/pki/crl/[-a-zA-Z0-9_]+/([1-9][0-9]{0,8})\.crl$")


def crl_url(slug: str, shard: int = 0) -> str:
    """Return the address of a CRL of that issuer. Its first shard has the plain address."""
    return f"{settings.PKI_BASE_URL}/pki/crl/{slug}.crl" if shard == 0 else f"{settings.PKI_BASE_URL}/pki/crl/{slug}/{shard}.crl"


def ocsp_url(slug: str) -> str:
    return f"{settings.PKI_BASE_URL}/pki/ocsp/{slug}"


def certificate_url(slug: str) -> str:
    return f"{settings.PKI_BASE_URL}/pki/ca/{slug}.crt"


def shard_of(url: str) -> int:
    """Return which shard a certificate's CRL address names; 0 for every other address, such as those of CAs elsewhere."""
    match = _SHARD.search(url)
    return int(match[1]) if match else 0
