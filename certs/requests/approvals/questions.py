"""Ask back: an approver asks the requester before deciding. Question and answer are kept with the request."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from audit.events import EventType
from audit.log import Actor, record
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused
from certs.models import ApprovalQuestion, CertificateRequest
from certs.notifications.outcomes import send_answer, send_question
from certs.requests.approvals.deciders import check_may_decide
from certs.requests.exposure.refused_secrets import refuse_secrets
from db.clock import database_now

MOST = 500


def ask_back(request: CertificateRequest, *, user: Any, question: str) -> ApprovalQuestion:
    """Ask the requester. The request waits as before, and its time goes on.

    Effects, in one transaction: the question, `request:questioned`, a mail to the requester.
    Raises NotPermitted for who may not decide it; InputRefused; Conflict while another question
    is open or the request does not wait.
    """
    check_may_decide(user, request)
    actor = Actor("user", user.get_username())
    text = _text(request, question, actor=actor, field="question", missing="Write what you want to know.")
    try:
        with transaction.atomic():
            row = _waiting(request)
            check_may_decide(user, row)
            now = database_now()
            asked = ApprovalQuestion.objects.create(request=row, asker=user, question=text, asked_at=now)
            record(EventType.REQUEST_QUESTIONED, subject=row.subject, actor=actor, at=now, data={"question": text[:200]})
            send_question(asked, now=now)
            return asked
    except IntegrityError as exc:
        raise Conflict(
            f"A question about {request.public_id} waits for its answer already.", next_step="Read the answer first, or decide."
        ) from exc


def answer(request: CertificateRequest, *, authority: Authority, text: str) -> ApprovalQuestion:
    """Answer the question that is open, by any member of the team.

    Effects, in one transaction: the answer, `request:answered`, a mail to who asked. Raises
    NotFound, NotPermitted, InputRefused; Conflict where no question is open.
    """
    authority.check_may_act(request)
    said = _text(request, text, actor=authority.actor, field="answer", missing="Write the answer.")
    with transaction.atomic():
        row = _waiting(request)
        authority.check_may_act(row)
        asked = open_question(row)
        if asked is None:
            raise Conflict(f"No question about {row.public_id} is open.", next_step="Open the page again: it shows what was answered.")
        now = database_now()
        asked.answer, asked.answerer, asked.answered_at = said, authority.user, now
        asked.save()
        record(EventType.REQUEST_ANSWERED, subject=row.subject, actor=authority.actor, at=now, data={"answer": said[:200]})
        send_answer(asked, now=now)
        return asked


def open_question(request: CertificateRequest) -> ApprovalQuestion | None:
    """Return the question that waits for its answer."""
    return ApprovalQuestion.objects.filter(request=request, answered_at__isnull=True).select_related("asker").first()


def _waiting(request: CertificateRequest) -> CertificateRequest:
    row = CertificateRequest.objects.select_for_update(of=("self",)).select_related("team", "requester").get(pk=request.pk)
    if row.state != S.AWAITING_APPROVAL:
        raise Conflict(f"{row.public_id} does not wait for approval any more (now: {row.state_words}).")
    return row


def _text(request: CertificateRequest, text: str, *, actor: Actor, field: str, missing: str) -> str:
    found = " ".join(text.split())
    if not found:
        raise InputRefused(missing, field=field, next_step="One sentence is enough.")
    if len(found) > MOST:
        raise InputRefused(f"This text has {len(found)} characters, more than {MOST}.", field=field, next_step="Shorten it.")
    # before the transaction: the refusal would roll back its own record
    refuse_secrets(found, actor=actor, team=request.team.slug, field=field, channel="portal")
    return found
