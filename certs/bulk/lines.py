"""Lines of a bulk order: from rows to specifications, and back."""

from __future__ import annotations

from datetime import date
from typing import Any

from certs.models import BulkChunk, BulkItem, BulkOrder
from certs.spec import CertificateSpec, Validity
from db.sql import among_texts, text_list
from keys.spec import KeyFacts

ISSUABLE = (BulkItem.Outcome.ALLOW, BulkItem.Outcome.NEEDS_APPROVAL)


def spec_to_json(spec: CertificateSpec | None) -> dict[str, Any] | None:
    if spec is None:
        return None
    return {
        "common_name": spec.common_name,
        "dns_names": list(spec.dns_names),
        "ip_addresses": list(spec.ip_addresses),
        "key": spec.key,
        "validity_days": spec.validity_days,
        "not_after": spec.not_after.isoformat() if spec.not_after else None,
        "profile": spec.profile,
    }


def spec_of(item: BulkItem) -> CertificateSpec:
    """Return the specification of a readable line."""
    # From JSON, which has neither tuples nor dates. Octets have columns of their own: base64 would take a third more.
    spec = item.spec or {}
    spki = bytes(item.spki_der)
    return CertificateSpec(
        common_name=spec["common_name"],
        dns_names=tuple(spec["dns_names"]),
        ip_addresses=tuple(spec["ip_addresses"]),
        key=spec["key"],
        validity_days=spec["validity_days"],
        not_after=date.fromisoformat(spec["not_after"]) if spec.get("not_after") else None,
        profile=spec["profile"],
        csr_der=bytes(item.csr_der) if spki else None,
        spki_der=spki or None,
    )


def key_label(item: BulkItem) -> str:
    """Return the key of a line as people write it."""
    return KeyFacts.from_name(item.spec["key"]).label if item.spec else ""


def validity_of(item: BulkItem) -> Validity | None:
    """Return the requested validity of a readable line."""
    return spec_of(item).validity if item.spec else None


def spec_changed(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a specification as JSON with a suggestion of the policy applied; days replace an end date."""
    return spec | changes | ({"not_after": None} if "validity_days" in changes else {})


def suggestion_applies(item: BulkItem) -> bool:
    """Return whether a change of the line's own fields is enough. It is not for a key in an external CSR."""
    changes = set((item.suggestion or {}).get("changes", {}))
    # Names and key of an external CSR are signed by its owner: only its owner can change them.
    known = {"validity_days", "profile"} | (set() if item.spki_der else {"key", "common_name", "dns_names", "ip_addresses"})
    return bool(changes) and changes <= known


def chosen_outcomes(order: BulkOrder) -> tuple[str, ...]:
    """Return the outcomes whose lines were submitted."""
    return (*ISSUABLE, BulkItem.Outcome.DENY) if order.with_refused else ISSUABLE


def items_of(order: BulkOrder, chunk: BulkChunk) -> Any:
    """Return a query of the submitted lines of a chunk."""
    return order.items.filter(number__gte=chunk.first, number__lte=chunk.last, outcome__in=chosen_outcomes(order)).order_by("number")


def lines_condition(order: BulkOrder, chunk: BulkChunk) -> tuple[str, list[Any]]:
    """Return the condition of `items_of` in SQL, on columns of certs_bulkitem, with its parameters."""
    return (
        f"order_id = %s AND number BETWEEN %s AND %s AND {among_texts('outcome')}",
        [order.pk, chunk.first, chunk.last, text_list(chosen_outcomes(order))],
    )
