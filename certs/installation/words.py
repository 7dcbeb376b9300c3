"""What was seen at a place, in words: for pages and mails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certs.installation.probe import is_address
from certs.models import Certificate, InstalledPlace, PlaceOutcome, StartTLS
from certs.notifications.wording import day, days_left, name_of


@dataclass(frozen=True, slots=True)
class Words:
    """`label`, `look`: word, colour and sign of the badge. `what` happened, and what to do `next`; empty where nothing is to be done."""

    label: str
    look: str
    sign: str
    what: str
    next: str


_LOOKS = {
    PlaceOutcome.SERVED: ("is-good", "●"),
    PlaceOutcome.NO_INTERMEDIATE: ("is-bad", "!"),
    PlaceOutcome.WRONG_NAME: ("is-bad", "!"),
    PlaceOutcome.OLD: ("is-bad", "!"),
    PlaceOutcome.ANOTHER: ("is-wait", "!"),
    PlaceOutcome.OTHER_CA: ("is-wait", "!"),
    PlaceOutcome.NO_TLS: ("is-wait", "✕"),
    PlaceOutcome.UNREACHABLE: ("is-wait", "✕"),
    PlaceOutcome.NOT_ALLOWED: ("is-wait", "✕"),
}

# A certificate of the lineage was served.
_OF_THIS = (PlaceOutcome.SERVED, PlaceOutcome.NO_INTERMEDIATE, PlaceOutcome.WRONG_NAME)


def words_about(place: InstalledPlace, expected: Certificate, now: datetime) -> Words:
    """Return the words for the last look at a place where `expected` should be served now.

    What was seen before the renewal that made `expected` is not said of it.
    """
    if place.outcome in _OF_THIS and place.served_id is not None and place.served_id != expected.pk:
        return Words(
            "not looked at since the renewal",
            "is-wait",
            "!",
            f"When the portal last looked, {place} served the certificate before this one.",
            "Put the new certificate in place, reload the server, and check again. The portal looks again every day.",
        )
    return words_of(place, now)


def words_of(place: InstalledPlace, now: datetime) -> Words:
    """Return the words for the last look at a place."""
    outcome = PlaceOutcome(place.outcome)
    what, following = _sentences(place, outcome, now)
    return Words(str(outcome.label), *_LOOKS[outcome], what, following)


def _sentences(place: InstalledPlace, outcome: PlaceOutcome, now: datetime) -> tuple[str, str]:
    ends = _ends(place.served_not_after, now)
    match outcome:
        case PlaceOutcome.SERVED:
            return f"{place} serves this certificate, with its whole chain.", ""
        case PlaceOutcome.NO_INTERMEDIATE:
            return (
                f"{place} serves this certificate without the intermediate certificate, so most clients cannot verify it.",
                "Use fullchain.pem instead of cert.pem in the server's configuration, and reload the server.",
            )
        case PlaceOutcome.WRONG_NAME:
            return (
                f"{place} serves this certificate, but {place.host} is not one of its names. Clients refuse it under this name.",
                "Request a certificate that has this name too.",
            )
        case PlaceOutcome.OLD:
            return (
                f"{place} still serves the old certificate{ends}. Did you reload the server?",
                "Put the new certificate in place, reload the server, and check again. The portal looks again every day.",
            )
        case PlaceOutcome.ANOTHER:
            other = f"“{name_of(place.served)}”" if place.served is not None else "which the portal no longer has"
            return (
                f"{place} serves another certificate of this portal, {other}{ends}.",
                "Check which certificate file the server's configuration names for this host.",
            )
        case PlaceOutcome.OTHER_CA:
            by = f", issued by {place.served_issuer}" if place.served_issuer else ""
            return (
                f"{place} serves a certificate of another CA{by}{ends}.",
                "Put this certificate in place and reload the server. If the other one is meant to be there, forget this place.",
            )
        case PlaceOutcome.NO_TLS:
            return place.detail, "Check the port, and how TLS begins there."
        case PlaceOutcome.NOT_ALLOWED:
            return place.detail, "Ask an administrator to add the network to PKI_LIVE_NETWORKS, or check it with the command below."
    return (
        place.detail,
        "Check that the server runs, and the name and the port. Where a firewall lets only other machines through, use the command below.",
    )


def _ends(not_after: datetime | None, now: datetime) -> str:
    if not_after is None:
        return ""
    verb = "ended" if not_after < now else "ends"
    return f", which {verb} on {day(not_after)} ({days_left(not_after, now)})"


def own_check(host: str, port: int, starttls: StartTLS) -> str:
    """Return a command with which a person sees the same from any other machine."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = "" if is_address(host) else f" -servername {host}"
    begin = f" -starttls {starttls}" if starttls else ""
    return f"openssl s_client -connect {where}{name}{begin} </dev/null 2>/dev/null |\n  openssl x509 -noout -enddate -fingerprint -sha256"
