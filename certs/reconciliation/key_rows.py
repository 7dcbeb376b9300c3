"""Compare public keys with the log and with the certificates on them: their blocks, and whose they are."""

from __future__ import annotations

from certs.models import Certificate, Team
from certs.reconciliation.comparison import Comparison, events_of, names_over_time, pages, rows_named
from keys.models import Key, PublicKey

BLOCKS = ("key:compromised", "key:unblocked")


def compare_keys(comparison: Comparison) -> None:
    """Add blocks that no event explains, keys of the portal that do not follow them, and changed owners."""
    pages(PublicKey.objects.filter(blocked_at__isnull=False), lambda page: _blocks(page, comparison))
    pages(Key.objects.exclude(spki_sha256=""), lambda page: _own_keys(page, comparison))
    pages(Certificate.objects.only("cert_id", "spki_sha256", "team"), lambda page: _owners(page, comparison))


def _blocks(page: list[PublicKey], comparison: Comparison) -> None:
    told = events_of([f"public_key:{row.pk}" for row in page], BLOCKS)
    for row in page:
        comparison.compared["blocked keys"] += 1
        events = told[f"public_key:{row.pk}"]
        if not events or events[-1].event != "key:compromised":
            comparison.add("key block", row.pk, "no event says that it was blocked")
            continue
        comparison.expect("key block", row.pk, "blocked_reason", stored=row.blocked_reason, told=events[-1].data.get("reason"))
        comparison.expect("key block", row.pk, "blocked_at", stored=row.blocked_at, told=events[-1].at)


def _own_keys(page: list[Key], comparison: Comparison) -> None:
    """A key that is active signs, so it must not be one whose public key is blocked."""
    blocked = set(PublicKey.objects.filter(pk__in=[row.spki_sha256 for row in page], blocked_at__isnull=False).values_list("pk", flat=True))
    for row in page:
        if row.state == Key.State.ACTIVE and row.spki_sha256 in blocked:
            comparison.add("key", str(row), "it is active, but its public key is blocked")
        elif row.state == Key.State.COMPROMISED and row.spki_sha256 not in blocked:
            comparison.add("key", str(row), "it is compromised, but its public key is not blocked")


def _owners(page: list[Certificate], comparison: Comparison) -> None:
    """Only the team to which a public key belongs gets certificates for it."""
    owners = dict(PublicKey.objects.filter(pk__in=[row.spki_sha256 for row in page]).values_list("pk", "team"))
    teams = rows_named(Team, [row.team_id for row in page])
    names = names_over_time(teams.values(), "slug", ("team:created", "team:changed"))
    for row in page:
        owner = owners.get(row.spki_sha256)
        if owner is None:
            comparison.add("public key", row.spki_sha256, f"its row is missing, so another team could claim the key of {row.cert_id}")
        elif owner not in names.get(row.team_id, ()):
            comparison.add("public key", row.spki_sha256, f"it belongs to team {owner}, but {row.cert_id} on it does not")
