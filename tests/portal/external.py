"""External CSRs issued in one batch, as the CA endpoint issues those that come at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from certs.issuance.synchronous import Call, issue_batch
from certs.models import CertificateRequest
from certs.requests.submit import Requester
from certs.spec import CertificateSpec


def issue_external(specs: Sequence[CertificateSpec], *, requester: Requester) -> list[CertificateRequest]:
    """The request of each specification, in order. Raises what refused the first of them."""
    return issue_calls([Call(spec, requester) for spec in specs])


def issue_calls(calls: Sequence[Call]) -> list[CertificateRequest]:
    """The same for the calls of several requesters."""
    requests = []
    for result in issue_batch(calls):
        if isinstance(result, Exception):
            raise result
        requests.append(result)
    return requests
