"""Which waivers a request needed, so that its certificate and the weekly report can name them."""

from __future__ import annotations

from django.db import models


class WaiverUse(models.Model):
    """One evaluation in which a waiver made the decision milder. Never changed afterwards."""

    request = models.ForeignKey("certs.CertificateRequest", on_delete=models.PROTECT, related_name="waiver_uses")
    waiver = models.ForeignKey("policy.PolicyWaiver", on_delete=models.PROTECT, related_name="uses")
    used_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"W-{self.waiver_id} for {self.request_id}"
