"""Who wants to know before the roots change."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class TrustSubscription(models.Model):
    """A person who is mailed about changes of the roots, once the address is confirmed."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="trust_subscription")
    address = models.EmailField(help_text="As it was when the person subscribed.")
    created_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    told = models.CharField(max_length=64, blank=True, help_text="The set of roots that the person knows (SHA-256).")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.address
