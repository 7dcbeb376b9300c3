"""A plan on its way from the page that shows it to the click that confirms it: signed, dated, and planned anew when it comes back."""

from __future__ import annotations

import base64
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from django.core import signing

from certs.errors import InputRefused
from certs.requests.plan import Fields, plan_csr, plan_fields, plan_words, typed_validity
from certs.requests.submit import Requester
from certs.spec import CertificateSpec, IssuePlan, RenewPlan
from policy.engine import Decision

SALT, MAX_AGE = "certs.plan", 3600  # seconds


@dataclass(frozen=True, slots=True)
class Asking:
    """What was typed. `kind`: words, csr, fields, or specs (a plan to which a suggestion was applied)."""

    kind: str
    team: str
    text: str = ""
    csr: str = ""
    fields: dict[str, Any] | None = None
    specs: tuple[dict[str, Any], ...] = ()
    validity: str = ""  # as typed beside fields or a CSR; empty for the policy's default
    profile: str = ""
    nonce: str = ""
    notes: tuple[str, ...] = ()  # what was assumed for it, and the suggestions applied since
    shown: str = ""  # digest of the certificates that the page showed

    def token(self) -> str:
        """For a hidden field: signed, so that what comes back is what was shown."""
        content = asdict(self) | {"nonce": self.nonce or secrets.token_hex(16)}
        return signing.dumps(content, salt=SALT, compress=True)


def asking_of(token: str) -> Asking:
    """Raises InputRefused for a token that was altered or is older than an hour."""
    try:
        content = signing.loads(token, salt=SALT, max_age=MAX_AGE)
    except signing.SignatureExpired as exc:
        raise InputRefused("This plan is more than an hour old.", field="plan", next_step="Ask again; nothing was made.") from exc
    except signing.BadSignature as exc:
        raise InputRefused("This plan is not one that the portal showed.", field="plan", next_step="Ask again; nothing was made.") from exc
    try:
        return Asking(**content | {"specs": tuple(content["specs"]), "notes": tuple(content["notes"])})
    except (TypeError, KeyError) as exc:  # signed by us, but by a release with other fields
        raise InputRefused(
            "The portal was updated since this plan was shown.", field="plan", next_step="Ask again; nothing was made."
        ) from exc


def plan_of(asking: Asking, requester: Requester) -> IssuePlan:
    """Raises what the intake raises: NotUnderstood, CSRRefused, InputRefused."""
    match asking.kind:
        case "words":
            plan = plan_words(asking.text, requester=requester)
            if not isinstance(plan, IssuePlan):
                verb = "renew" if isinstance(plan, RenewPlan) else "revoke"
                raise InputRefused(
                    f"These words ask to {verb} a certificate, not to issue one.",
                    field="text",
                    next_step=f"Say it in the box itself: it leads to the page that shows what it would {verb}.",
                )
            return plan
        case "csr":
            data = base64.b64decode(asking.csr)
            days, not_after = typed_validity(asking.validity, requester=requester)
            made = plan_csr(data, requester=requester, validity_days=days, not_after=not_after, profile=asking.profile)
            return replace(made, notes=tuple(dict.fromkeys((*asking.notes, *made.notes))))
        case "fields":
            content = asking.fields or {}
            days, not_after = typed_validity(asking.validity, requester=requester)
            fields = Fields(**(content | {"sans": tuple(content.get("sans", ())), "validity_days": days, "not_after": not_after}))
            return plan_fields(fields, requester=requester)
    return IssuePlan(tuple(_spec(one) for one in asking.specs), asking.notes)


def _spec(content: dict[str, Any]) -> CertificateSpec:
    end = content.get("not_after")
    typed = {"dns_names": tuple(content["dns_names"]), "ip_addresses": tuple(content["ip_addresses"])}
    return CertificateSpec(**(content | typed | {"not_after": date.fromisoformat(end) if end else None}))


def _content(spec: CertificateSpec) -> dict[str, Any]:
    """The inverse of `_spec`: what a token can hold."""
    return asdict(spec) | {"not_after": spec.not_after.isoformat() if spec.not_after else None}


def with_suggestion(asking: Asking, made: IssuePlan, decision: Decision) -> Asking | None:
    """The same wish with the suggestion applied; None when there is none, or when only a new CSR would help.

    What was assumed before stays said.
    """
    if not decision.suggestion:
        return None
    changes = decision.suggestion.changes
    notes = (*made.notes, f"Changed as the policy suggested: {decision.advice}")
    if asking.kind == "csr":
        if set(changes) - {"validity_days", "profile", "ekus"}:
            return None
        return replace(
            asking,
            nonce="",
            notes=notes,
            validity=f"{changes['validity_days']} days" if "validity_days" in changes else asking.validity,
            profile=changes.get("profile", asking.profile),
        )
    changed = tuple(_content(_changed(spec, changes)) for spec in made.specs)
    return Asking(kind="specs", team=asking.team, specs=changed, notes=notes)


def _changed(spec: CertificateSpec, changes: dict[str, Any]) -> CertificateSpec:
    known = {name: value for name, value in changes.items() if name in ("key", "validity_days", "profile", "common_name")}
    if "validity_days" in known:
        known["not_after"] = None
    for name in ("dns_names", "ip_addresses"):
        if name in changes:
            known[name] = tuple(changes[name])
    return replace(spec, **known)
