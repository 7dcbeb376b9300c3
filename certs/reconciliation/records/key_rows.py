"""Compare public keys with the log and with the certificates on them: their blocks, and whose they are."""

from __future__ import annotations

from certs.models import Certificate, CertificateRequest, RequestCSR, Team
from certs.reconciliation.records.comparison import Comparison, events_of, names_over_time, pages, rows_named
from certs.x509.asn1.reader import NotDER, inside
from keys.models import Key, PublicKey
from keys.spec import spki_sha256

BLOCKS = ("key:compromised", "key:unblocked")


def compare_keys(comparison: Comparison) -> None:
    """Add blocks that no event explains, keys of the portal that do not follow them, changed owners and CSRs."""
    pages(PublicKey.objects.filter(blocked_at__isnull=False), lambda page: _blocks(page, comparison))
    pages(Key.objects.exclude(spki_sha256=""), lambda page: _own_keys(page, comparison))
    pages(Certificate.objects.only("cert_id", "spki_sha256", "team"), lambda page: _owners(page, comparison))
    pages(RequestCSR.objects.all(), lambda page: _csrs(page, comparison))


def _blocks(page: list[PublicKey], comparison: Comparison) -> None:
    logged = events_of([f"public_key:{row.pk}" for row in page], BLOCKS)
    for row in page:
        comparison.compared["blocked keys"] += 1
        events = logged[f"public_key:{row.pk}"]
        if not events or events[-1].event != "key:compromised":
            comparison.add("key block", row.pk, "no event says that it was blocked")
            continue
        comparison.expect("key block", row.pk, "blocked_reason", stored=row.blocked_reason, logged=events[-1].data.get("reason"))
        comparison.expect("key block", row.pk, "blocked_at", stored=row.blocked_at, logged=events[-1].at)


def _own_keys(page: list[Key], comparison: Comparison) -> None:
    """Compare own keys: an active key signs, so its public key must not be blocked."""
    blocked = set(PublicKey.objects.filter(pk__in=[row.spki_sha256 for row in page], blocked_at__isnull=False).values_list("pk", flat=True))
    for row in page:
        if row.state == Key.State.ACTIVE and row.spki_sha256 in blocked:
            comparison.add("key", str(row), "it is active, but its public key is blocked")
        elif row.state == Key.State.COMPROMISED and row.spki_sha256 not in blocked:
            comparison.add("key", str(row), "it is compromised, but its public key is not blocked")


def _owners(page: list[Certificate], comparison: Comparison) -> None:
    """Compare the teams of public keys: only the team of a key gets certificates for it."""
    owners = dict(PublicKey.objects.filter(pk__in=[row.spki_sha256 for row in page]).values_list("pk", "team"))
    teams = rows_named(Team, [row.team_id for row in page])
    names = names_over_time(teams.values(), "slug", ("team:created", "team:changed"))
    for row in page:
        owner = owners.get(row.spki_sha256)
        if owner is None:
            comparison.add("public key", row.spki_sha256, f"its row is missing, so another team could claim the key of {row.cert_id}")
        elif owner not in names.get(row.team_id, ()):
            comparison.add("public key", row.spki_sha256, f"it belongs to team {owner}, but {row.cert_id} on it does not")


def _csrs(page: list[RequestCSR], comparison: Comparison) -> None:
    """Compare the keys of CSRs: the CA certifies them, so they must be those of the requests, which the log names."""
    requests = rows_named(CertificateRequest, [row.request_id for row in page])
    for row in page:
        comparison.compared["CSRs"] += 1
        request = requests.get(row.request_id)
        if request is not None and {row.spki_sha256, *_keys_of(row)} != {request.spki_sha256}:
            comparison.add("request", request.public_id, "its CSR is for another public key")


def _keys_of(row: RequestCSR) -> set[str]:
    """Return the hashes of the public key beside the CSR and of the one within (RFC 2986 4.1)."""
    found = {spki_sha256(bytes(row.spki_der))}
    if not row.der:  # one with a challenge password is not kept
        return found
    try:
        return found | {spki_sha256(inside(inside(bytes(row.der))[0])[2])}
    except (NotDER, IndexError):
        return found | {"not a CSR"}
