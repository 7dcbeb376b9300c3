"""Uploads become lines: read apart from this process, with what the team owns and the policy gives as defaults."""

from __future__ import annotations

from django.conf import settings

from audit.clock import database_now
from certs.errors import CSRRefused
from certs.intake.uploads import Limits, read_upload
from certs.intake.uploads.lines import Line
from certs.terms import RefusalClass
from certs.workflow.issuance import Requester
from certs.workflow.planning import audit_secret, defaults_for


def read_lines(data: bytes, *, filename: str, requester: Requester) -> list[Line]:
    """Raises InputRefused for a file that cannot be used at all; one line that cannot be used is told in its place.

    A private key or token anywhere in it refuses the whole file; that is audited, and the text is kept nowhere.
    """
    limits = Limits(
        max_bytes=settings.PKI_BULK_MAX_BYTES,
        max_lines=settings.PKI_BULK_MAX_LINES,
        max_names=settings.PKI_MAX_NAMES,
        max_csr_bytes=settings.PKI_MAX_CSR_BYTES,
    )
    defaults = defaults_for(requester.team, now=database_now())
    try:
        return read_upload(data, filename=filename, defaults=defaults, domains=requester.team.domain_names(), limits=limits)
    except CSRRefused as refused:
        if refused.refusal is RefusalClass.SECRET_PASTED:
            audit_secret(requester, kind="secret in an upload", length=len(data), spki=refused.spki_sha256)
        raise
