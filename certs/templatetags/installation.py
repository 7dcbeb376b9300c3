"""What the part "Check that it is live" of a page needs: `templates/installation/live_check.html`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import template

from audit.log import Actor
from certs.access.permissions import Authority
from certs.errors import PortalError
from certs.installation.places import BY_PORT, expected_of, first_guess, is_enabled, places_among, read_place
from certs.installation.words import Words, own_check, words_about
from certs.models import Certificate, InstalledPlace, StartTLS
from certs.requests.lineage import lineage_of
from db.clock import database_now

register = template.Library()


@dataclass(frozen=True, slots=True)
class Live:
    """The known places of a certificate with their words, and the form for another one.

    `certificate` is the newest of the lineage: the one that should be served.
    """

    certificate: Certificate
    places: list[tuple[InstalledPlace, Words | None]]
    waits: bool
    may_check: bool
    enabled: bool
    guess: str
    command: str
    kinds: list[tuple[str, str]]

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint as OpenSSL writes it."""
        text = self.certificate.sha256_fingerprint.upper()
        return ":".join(text[at : at + 2] for at in range(0, len(text), 2))


@register.simple_tag
def live_check_of(certificate: Certificate, user: Any) -> Live:
    """Return what is known of the places of a certificate, as the user may see it."""
    now = database_now()
    lineage = lineage_of(certificate)
    places = places_among(lineage)
    guess = first_guess(certificate)
    command = ""
    try:
        where = read_place(guess)
    except PortalError:
        pass  # a certificate without a name that could be a server's
    else:
        command = own_check(where.host, where.port, where.starttls)
    expected = expected_of(lineage)
    return Live(
        certificate=expected,
        places=[(one, words_about(one, expected, now) if one.outcome else None) for one in places],
        waits=any(one.is_being_looked_at for one in places),
        may_check=Authority(Actor("user", user.get_username()), user).may_act_on(certificate),
        enabled=is_enabled(),
        guess=f"{guess}:443" if guess and not places else "",
        command=command,
        kinds=[(BY_PORT, "What the port usually speaks"), *StartTLS.choices],
    )


@register.filter
def certificates_in(pem: str) -> int:
    """Return how many certificates a PEM text holds."""
    return pem.count("-----BEGIN CERTIFICATE-----")
