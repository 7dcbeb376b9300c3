"""What an act would do to each certificate, as far as that is known before it is tried.

The use cases decide when a line is done. This is the same rules read beforehand, for a preview.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model

from certs.access.permissions import Authority, members_among
from certs.enums import RevocationReason
from certs.errors import Conflict
from certs.models import BulkAct, Certificate, Revocation
from certs.renewal.plan import RELATED, KeyOption, Verdict, plan_renewals
from certs.renewal.renew import living_renewals
from certs.requests.description import MOST_TAGS
from certs.revocation.request import check_may_follow, check_revocable

Kind = BulkAct.Kind


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a line will be tried, and why not; or what to know about it."""

    is_left_out: bool = False
    reason: str = ""
    advice: str = ""


GO = Judgement()
Judge = Callable[[Sequence[Certificate], BulkAct, Authority, datetime], dict[int, Judgement]]


def judge(ids: Sequence[int], act: BulkAct, *, authority: Authority, now: datetime) -> dict[int, Judgement]:
    """Return a judgement for each certificate by id; a few queries for all of them."""
    rows = list(Certificate.objects.filter(pk__in=ids).select_related(*RELATED).order_by("pk"))
    teams = authority.acts_for()
    found: dict[int, Judgement] = {}
    if teams is not None:
        found = {row.pk: _not_yours(row) for row in rows if row.team_id not in teams}
    own = [row for row in rows if row.pk not in found]
    return found | _JUDGES[Kind(act.kind)](own, act, authority, now)


def _not_yours(row: Certificate) -> Judgement:
    return _left_out("Only members of its team and the security team may do this.", f"Ask team {row.team.name}.")


def _left_out(reason: str, advice: str = "") -> Judgement:
    return Judgement(is_left_out=True, reason=reason, advice=advice)


def _renewals(rows: Sequence[Certificate], act: BulkAct, authority: Authority, now: datetime) -> dict[int, Judgement]:
    living = living_renewals([row.pk for row in rows])
    found = {pk: _left_out("It is renewed already.", f"See {request.public_id}.") for pk, request in living.items()}
    option = KeyOption(act.options["key"])
    open_rows = [row for row in rows if row.pk not in living]
    plans = plan_renewals(open_rows, key_option=option, user=authority.user, at=now)
    for plan in plans:
        if not plan.may_begin:
            found[plan.certificate.pk] = _left_out(plan.reason, plan.advice)
        elif plan.verdict is Verdict.NEEDS_APPROVAL:
            found[plan.certificate.pk] = Judgement(reason="It will wait for an approval.")
        else:
            found[plan.certificate.pk] = Judgement(reason=" ".join(plan.notes))
    return found


def _revocations(rows: Sequence[Certificate], act: BulkAct, _authority: Authority, now: datetime) -> dict[int, Judgement]:
    reason = RevocationReason(act.options["reason"])
    ids = [row.pk for row in rows]
    current = {one.certificate_id: one for one in Revocation.objects.filter(certificate__in=ids, released_at__isnull=True)}
    return {row.pk: _revocation(row, current.get(row.pk), reason, now) for row in rows}


def _revocation(row: Certificate, current: Revocation | None, reason: RevocationReason, now: datetime) -> Judgement:
    if current is not None and current.reason == reason:
        return _left_out(f"It is revoked already, as {reason}.")
    try:
        if current is None:
            check_revocable(row, reason, now=now)
        else:
            check_may_follow(row, current, reason)
    except Conflict as exc:
        # Without what each has of its own, so that a preview counts those that are alike together.
        if row.not_after < now and current is None:
            return _left_out("It has expired, so no program relies on it.", exc.next_step)
        return _left_out(exc.message.replace(row.cert_id, "It", 1), exc.next_step)
    return GO if current is None else Judgement(reason=f"It is revoked as {current.reason}.")


def _owners(rows: Sequence[Certificate], act: BulkAct, _authority: Authority, _now: datetime) -> dict[int, Judgement]:
    name = act.options["owner"]
    account = get_user_model().objects.filter(username=name).first()
    pk = account.pk if account is not None else 0
    members = {team for team, _ in members_among([(row.team_id, pk) for row in rows])}
    found = _replaced(rows)
    for row in rows:
        if row.pk in found:
            continue
        if row.owner_id == pk:
            found[row.pk] = _left_out(f"{name} owns it already.")
        elif row.team_id not in members:
            advice = f"Have {name} added to team {row.team.name} first."
            found[row.pk] = _left_out(f"{name} is no member of team {row.team.name}.", advice)
        else:
            found[row.pk] = GO
    return found


def _tags(rows: Sequence[Certificate], act: BulkAct, _authority: Authority, _now: datetime) -> dict[int, Judgement]:
    tag, adding = act.options["tag"], act.kind == Kind.ADD_TAG
    found = _replaced(rows)
    for row in rows:
        if row.pk in found:
            continue
        if (tag in row.tag_list) == adding:
            found[row.pk] = _left_out(f"It {'has' if adding else 'does not have'} the tag {tag}.")
        elif adding and len(row.tag_list) >= MOST_TAGS:
            found[row.pk] = _left_out(f"It has {MOST_TAGS} tags already.", "Remove one first.")
        else:
            found[row.pk] = GO
    return found


def _replaced(rows: Sequence[Certificate]) -> dict[int, Judgement]:
    """The description belongs to the newest certificate of a lineage."""
    following = Certificate.objects.filter(renewed_from__in=[row.pk for row in rows], status=Certificate.Status.GOOD)
    return {
        before: _left_out("It was renewed, and another certificate has taken its place.", f"Change {cert_id}.")
        for before, cert_id in following.values_list("renewed_from", "cert_id")
        if before is not None
    }


_JUDGES: dict[Kind, Judge] = {
    Kind.RENEW: _renewals,
    Kind.REVOKE: _revocations,
    Kind.OWNER: _owners,
    Kind.ADD_TAG: _tags,
    Kind.REMOVE_TAG: _tags,
}
