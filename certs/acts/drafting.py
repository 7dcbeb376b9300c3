"""An act is drafted: its certificates are fixed, and each is judged for the preview."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction

from certs.access.permissions import Authority
from certs.acts.judging import judge
from certs.acts.options import read_options
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.inventory import CertificateFilter, with_key_blocked
from certs.inventory.listing.listed import view_of
from certs.models import BulkAct, BulkActLine, Certificate, new_public_id
from db.clock import database_now

MOST_LINES = 10_000
KEPT = timedelta(days=2)  # of a draft that nobody submits
_PART = 500
Outcome = BulkActLine.Outcome


def draft_act(
    kind: str,
    *,
    authority: Authority,
    chosen: Collection[str] = (),
    query: Mapping[str, str] | None = None,
) -> BulkAct:
    """Fix the certificates of an act: those chosen by cert_id, or with `query` all of that view.

    The view is read once, here: what enters it later is not part of the act. An act that needs no
    options is judged at once. Effects: the act and its lines in one transaction.

    Raises NotPermitted for an actor who may act on no certificate at all; InputRefused for nothing
    or too much, or a view that cannot be read.
    """
    if kind not in BulkAct.Kind.values:
        raise InputRefused("There is no such act.", field="act", next_step="Use a button of the list.")
    teams = authority.acts_for()
    if teams is not None and not teams:
        raise NotPermitted(
            "You may look at certificates, and change none.",
            next_step="Ask the team of the certificates, or the security team.",
        )
    now = database_now()
    sought = CertificateFilter() if query is None else CertificateFilter.from_query(query)
    rows = view_of(authority.sees(), sought, now=now).rows
    if query is None:
        rows = rows.filter(cert_id__in=chosen)
    ids = list(rows.order_by("not_after", "pk").values_list("pk", flat=True)[: MOST_LINES + 1])
    if not ids:
        raise InputRefused(
            "No certificate is selected.",
            field="cert",
            next_step="Select certificates in the list, or all of the view.",
        )
    if len(ids) > MOST_LINES:
        raise InputRefused(
            f"These are more than {MOST_LINES:,} certificates.",
            field="cert",
            next_step="Narrow the view, for example by team or CA, and do it in parts.",
        )
    with transaction.atomic():
        act = BulkAct.objects.create(
            public_id=new_public_id("act", now),
            kind=kind,
            person=authority.user,
            query=CertificateFilter.url(sought).partition("?")[2][:1000] if query is not None else "",
            total=len(ids),
            created_at=now,
        )
        BulkActLine.objects.bulk_create(
            [BulkActLine(act=act, number=number, certificate_id=pk) for number, pk in enumerate(ids, start=1)],
            batch_size=1000,
        )
    if kind == BulkAct.Kind.RENEW:
        return choose_options(act, {}, authority=authority)
    return act


def choose_options(act: BulkAct, given: Mapping[str, Any], *, authority: Authority) -> BulkAct:
    """Keep the options of a draft, and judge each of its lines with them.

    Raises InputRefused for an option that cannot be, Conflict for an act that was submitted.
    """
    options = read_options(act.kind, given, authority=authority)
    with transaction.atomic():
        row = BulkAct.objects.select_for_update().get(pk=act.pk)
        check_draft(row)
        row.options = options
        row.save(update_fields=["options"])
        _judge(row, authority)
    return row


def check_draft(act: BulkAct) -> None:
    """Raise Conflict for an act that is no draft any more."""
    if act.state != BulkAct.State.DRAFT:
        raise Conflict(
            f"{act.public_id} was submitted already.",
            next_step="Look at its page; select again for another act.",
        )


def _judge(act: BulkAct, authority: Authority) -> None:
    now = database_now()
    lines = list(act.lines.order_by("number"))
    for first in range(0, len(lines), _PART):
        part = lines[first : first + _PART]
        ids = [line.certificate_id for line in part]
        judged = judge(ids, act, authority=authority, now=now)
        for line in part:
            found = judged[line.certificate_id]
            line.outcome = Outcome.LEFT_OUT if found.is_left_out else Outcome.WAITING
            line.reason, line.advice = found.reason[:500], found.advice[:500]
        BulkActLine.objects.bulk_update(part, ["outcome", "reason", "advice"])


def forget_drafts() -> int:
    """Delete drafts that nobody submitted for KEPT. Returns how many."""
    old = BulkAct.objects.filter(state=BulkAct.State.DRAFT, created_at__lt=database_now() - KEPT)
    ids = list(old.values_list("pk", flat=True)[:_PART])
    BulkAct.objects.filter(pk__in=ids, state=BulkAct.State.DRAFT).delete()
    return len(ids)


def names_of_lines(lines: Collection[BulkActLine], *, authority: Authority) -> dict[int, Certificate]:
    """Return the certificates of lines by id, with what a page shows of them: those that the actor may see now.

    Who ordered an act may have left a team since.
    """
    ids = [line.certificate_id for line in lines]
    rows = with_key_blocked(authority.visible().filter(pk__in=ids), database_now())
    rows = rows.select_related("team", "request", "owner", "issuer")
    return {row.pk: row for row in rows}
