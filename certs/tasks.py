"""Celery tasks: thin wrappers around use cases. A step's task returns the ids that it got; the next one picks by state what is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from celery import shared_task
from django.conf import settings
from kombu.exceptions import OperationalError

from certs.access import login_limits
from certs.access.api_tokens import end_orphaned_tokens
from certs.acts import drafting
from certs.acts import work as acting
from certs.authorities import forecast, reissue, trial
from certs.authorities.figures import count_by_issuer
from certs.bulk import chunk as chunks
from certs.bulk import dispatch
from certs.bulk.drafting import draft
from certs.ca.registry import is_remote, own_and_remote
from certs.enums import RequestState as S
from certs.estate import compliance, looking_ahead
from certs.evidence import witnesses
from certs.installation import looking
from certs.inventory import figures
from certs.issuance import recovery
from certs.issuance.advance import Unavailable, advance
from certs.issuance.steps.ca_submit import waiting_for_place
from certs.models import CertificateRequest, Issuer
from certs.notifications import alerts, digests, token_ends
from certs.notifications.delivery import bundling, deliver, mail, password_reset
from certs.pipeline import send_if_room, start_remote
from certs.reconciliation import each_ca, nightly
from certs.renewal import expiry, expiry_alerts, planned_revocation
from certs.replay import jobs as replays
from certs.replay import waiver_ends
from certs.reports import keeping, verdicts
from certs.requests import lineage, owner_change, waiting
from certs.requests.approvals import time_limit
from certs.requests.turn import Turn, claim_ca, let_go_of_ca, run_parts
from certs.revocation import deliver as revoking
from certs.revocation import key_destruction
from certs.schedules import clean_up as cleaning
from certs.status import maintenance
from certs.trust import subscriptions
from db.clock import database_now

log = logging.getLogger(__name__)


@shared_task
def check_policy(ids: Sequence[int]) -> Sequence[int]:
    advance(ids, until=S.APPROVED)
    return ids


@shared_task(bind=True, max_retries=None)
def ensure_keys(self: Any, ids: Sequence[int]) -> Sequence[int]:
    return _advance(self, ids, since=S.APPROVED, until=S.KEY_READY)


@shared_task(bind=True, max_retries=None)
def create_csrs(self: Any, ids: Sequence[int]) -> Sequence[int]:
    return _advance(self, ids, since=S.KEY_READY, until=S.CSR_CREATED)


@shared_task(bind=True, max_retries=None)
def submit_to_ca(self: Any, ids: Sequence[int], *, complete: bool = False) -> Sequence[int]:
    """Submit to the own CAs. Requests for remote CAs go to the queue `ca-remote`, so that a CA that
    hangs does not delay the others. `complete`: the chain has no task for the inventory.
    """
    rows = CertificateRequest.objects.filter(pk__in=ids, state=S.CSR_CREATED, held_since__isnull=True)
    remote = [(pk, item is not None) for pk, alias, item in rows.values_list("pk", "issuer__alias", "bulk_item") if is_remote(alias)]
    _start_remote(remote)
    away = {pk for pk, _ in remote}
    return _advance(self, [pk for pk in ids if pk not in away], since=S.CSR_CREATED, until=S.COMPLETED if complete else S.ISSUED)


@shared_task(bind=True, max_retries=None)
def submit_to_remote_ca(self: Any, ids: Sequence[int]) -> Sequence[int]:
    """Submit to CAs over the network, and record what they issue. At the end, publish the requests
    that waited for a place at the same CAs.
    """
    try:
        return _advance(self, ids, since=S.CSR_CREATED, until=S.COMPLETED)
    finally:
        for issuer in Issuer.objects.filter(pk__in=CertificateRequest.objects.filter(pk__in=ids).values("issuer")):
            _start_remote(waiting_for_place(issuer))


def _advance(task: Any, ids: Sequence[int], *, since: S, until: S) -> Sequence[int]:
    """Advance requests; where a CA or key backend is unavailable, try again after 1, 2 and 4 seconds, then hold them and alert operators.

    Celery's own retry, in the same place of the chain, with the pauses of PKI_CA_RETRY_SECONDS.
    """
    try:
        advance(ids, since=since, until=until)
    except Unavailable as exc:
        pauses = settings.PKI_CA_RETRY_SECONDS
        if task.request.retries < len(pauses):
            raise task.retry(args=[list(ids)], countdown=pauses[task.request.retries], exc=exc) from exc
        if exc.keys:
            waiting.hold_for_keys(list(exc.keys), next(iter(exc.keys.values())))
        if exc.ca:
            waiting.hold_for_ca(list(exc.ca), next(iter(exc.ca.values())))
    return ids


def _start_remote(requests: Sequence[tuple[int, bool]]) -> None:
    """Publish submissions to remote CAs: single requests, and lines of bulk orders on the bulk queue."""
    for bulk in (False, True):
        ids = [pk for pk, is_line in requests if is_line is bulk]
        if ids and not start_remote(ids, bulk=bulk):
            log.warning("%d request(s) for remote CAs wait for room in their queue", len(ids))


@shared_task
def record_inventory(ids: Sequence[int]) -> Sequence[int]:
    advance(ids, since=S.ISSUED, until=S.COMPLETED)
    return ids


@shared_task
def dispatch_bulk() -> int:
    return dispatch.dispatch_or_finish()


@shared_task
def make_chunk(chunk: int) -> Sequence[int]:
    return chunks.make_chunk(chunk)


@shared_task
def issue_chunk(chunk: int) -> Sequence[int]:
    return chunks.make_chunk(chunk)


@shared_task
def end_chunk(chunk: int) -> bool:
    return dispatch.end_chunk(chunk)


@shared_task
def close_chunks() -> int:
    return dispatch.close_chunks()


@shared_task
def work_on_act(act: int) -> int:
    """Work on lines of an act on many certificates."""
    return acting.work_on(act)


@shared_task
def forget_old_drafts() -> int:
    return _each_alone(
        ("bulk orders", draft.forget_old_drafts),
        ("acts", drafting.forget_drafts),
    )


@shared_task
def sweep_bulk() -> int:
    return _each_alone(
        ("broken drafts", draft.forget_broken_drafts),
        ("chunks", dispatch.sweep_chunks),
    )


@shared_task
def replay_policy(replay: int) -> int:
    """Evaluate parts of a replay for some seconds; the last worker on it publishes the next task."""
    return replays.work_on(replay)


@shared_task
def hand_over_certificates(change: int) -> int:
    """Give certificates of a person to another owner, part by part, for some seconds."""
    return owner_change.work_on(change)


@shared_task
def sweep() -> int:
    return _each_alone(
        ("changes of owners", owner_change.sweep_owner_changes),
        ("policy replays", replays.sweep_replays),
        ("orphaned tokens", end_orphaned_tokens),
        ("planned revocations", planned_revocation.revoke_replaced),
        ("requests that nobody decided", time_limit.let_lapse),
        ("reminders of approvals", time_limit.remind_due),
        ("requests that stand still", recovery.restart_stalled),
        ("acts that stand still", acting.restart_stalled),
    )


def _each_alone(*parts: tuple[str, Callable[[], int]]) -> int:
    """Run parts that need no CA. Returns how much they did. A part that fails is logged and alerted,
    and the parts after it still run.
    """
    done = run_parts([(name, lambda _turn, do=do: do()) for name, do in parts], Turn([]))  # type: ignore[misc]
    return sum(count for count in done.values() if isinstance(count, int))


@shared_task
def process_revocations() -> int:
    """Deliver revocations. Own CRLs are started first, and remote CAs have workers of their own, so
    that a CA that is slow to reply does not delay them.
    """
    try:
        publish_status.apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the CRLs wait for beat: %s", exc)
    own, remote = own_and_remote()
    _sweep_remote(remote)
    return revoking.process_revocations(Turn(own))


@shared_task
def publish_status() -> dict[str, int]:
    return maintenance.keep_status_information()


# Parts that need the CA role, each alone: first those that cost no time, then those that may wait for a CA.
SWEEP_PARTS: tuple[tuple[str, Callable[[Turn], int]], ...] = (
    ("renewals_cancelled", lambda _turn: lineage.cancel_stopped_renewals()),
    ("released", recovery.release_for_answering_cas),
    ("quarantine_revoked", recovery.revoke_quarantined),
    ("settled", recovery.settle_unclaimed),
    ("cleared", recovery.clear_after_the_end),
    ("revoked", revoking.process_revocations),
)


@shared_task
def sweep_ca() -> dict[str, int | str]:
    """Resume requests that were held for a CA that works again, and settle wrong, late and unwanted
    certificates: of the own CAs here, of each remote CA in a task of its own.
    """
    own, remote = own_and_remote()
    _sweep_remote(remote)
    trial.send_left_tests()
    return run_parts(SWEEP_PARTS, Turn(own))


@shared_task
def sweep_remote_ca(issuer_id: int) -> dict[str, int | str]:
    """Do at one remote CA what `sweep_ca` does. Does nothing while another worker is at that CA."""
    issuer = claim_ca(issuer_id)
    if issuer is None:
        return {}
    try:
        return run_parts(SWEEP_PARTS, Turn([issuer]))
    finally:
        let_go_of_ca(issuer_id)


def _sweep_remote(issuers: Sequence[Issuer]) -> None:
    for issuer in issuers:
        send_if_room(sweep_remote_ca.name, issuer.pk)


@shared_task
def reconcile_cas() -> int:
    """Find certificates at CAs that are unknown here, or that were revoked there only. Returns how many
    were found at the own CAs; each remote CA is compared in a task of its own.
    """
    own, remote = own_and_remote()
    for issuer in remote:
        send_if_room(reconcile_remote_ca.name, issuer.pk)
    return _count(each_ca.reconcile_each(own))


@shared_task
def reconcile_remote_ca(issuer_id: int) -> int:
    return _count(each_ca.reconcile_each(Issuer.objects.filter(pk=issuer_id)))


def _count(counts: Sequence[dict[str, Any]]) -> int:
    return sum(len(one["found"]) + len(one["revoked"]) for one in counts)


@shared_task
def destroy_keys() -> int:
    return key_destruction.process_destructions()


@shared_task
def sweep_keys() -> int:
    return recovery.release_for_answering_keys()


@shared_task
def check_expiry() -> dict[str, int]:
    """Run the nightly check. Returns the numbers only: what was done is in the rows and the audit log."""
    return _numbers(expiry.check_expiry())


@shared_task
def renew_due() -> dict[str, int]:
    """Renew what is due and needs no person; every quarter of an hour."""
    return _numbers(expiry.renew_due())


def _numbers(done: expiry.Checked) -> dict[str, int]:
    return {
        "checked": done.checked,
        "renewed": done.counts["renewed"],
        "refused": done.counts["refused"],
        "left_for_next_run": done.left,
    }


@shared_task
def weekly_report() -> bool:
    """A report that fails is an alert, and the due table repeats it."""
    return keeping.weekly_report()


# A slow server may take minutes for one mail; a lease is longer than this limit.
@shared_task(time_limit=int(mail.RUN_LIMIT.total_seconds()), soft_time_limit=None)
def send_notifications() -> int:
    """Write the notices that are due by now, then send mails."""
    return _each_alone(
        ("messages for webhooks", digests.announce),
        ("digests", digests.write_due_digests),
        ("API tokens that end", token_ends.notify_ending),
        ("waivers that end", waiver_ends.announce_ending_waivers),
        ("outages that are over", lambda: alerts.notify_ends(database_now())),
        ("mails that go together", bundling.write_bundles),
        ("mails", mail.send_due),
        ("mails that are late", mail.watch),
    )


@shared_task
def deliver_webhooks() -> int:
    """Deliver the messages of webhooks that are due."""
    return _each_alone(("webhooks", deliver.deliver_due))


@shared_task
def look_at_place(pk: int) -> None:
    """Look at a place that a person asked for."""
    looking.look_at(pk)


@shared_task(autoretry_for=(OSError,), retry_backoff=5, max_retries=3)
def send_password_reset(pk: int) -> bool:
    """Send the mail with which a person sets a new password."""
    return password_reset.send_reset(pk)


@shared_task
def look_again() -> int:
    """Look at known places: after a renewal, and while the old certificate is served."""
    return looking.look_again()


@shared_task
def tell_trust_changes() -> int:
    """Notify subscribers of changes of the roots."""
    return subscriptions.notify_changes()


@shared_task
def ask_witnesses() -> int:
    """Send the newest checkpoint of the audit log to its witnesses."""
    return witnesses.ask_witnesses()


@shared_task
def close_sign_in_windows() -> int:
    """Sum up ended windows of the sign-in limits in the audit log, and delete their rows."""
    return login_limits.close_windows()


# A forecast reads the whole inventory of a CA: longer than other tasks may take, and computed anew where it broke off.
@shared_task(time_limit=3600, soft_time_limit=3500, acks_late=False)
def forecast_reissue(pk: int) -> int:
    """Compute what a re-issue would do."""
    return forecast.forecast_reissue(pk)


@shared_task
def connect_ca(pk: int) -> bool:
    """Connect to a CA that a person adds."""
    return trial.connect_ca(pk)


@shared_task
def test_ca(pk: int) -> bool:
    """Issue and revoke a test certificate at a CA that a person adds."""
    return trial.test_ca(pk)


@shared_task
def revoke_ca_test(pk: int) -> bool:
    """Revoke the test certificate of a CA that was given up, or whose test broke off."""
    return trial.revoke_left_test(pk)


@shared_task
def count_reissues() -> int:
    """Count how far re-issues are, and end those that are done."""
    return reissue.count_reissues()


@shared_task
def count_states() -> int:
    """Keep the figures of the inventory and of each CA, and close alerts about certificates that somebody has dealt with."""
    return _each_alone(("figures", figures.count_when_due), ("CAs", count_by_issuer), ("alerts", expiry_alerts.close_settled))


@shared_task(time_limit=1800, soft_time_limit=1700)
def judge_day() -> int:
    """Keep how many certificates comply today, and what needs a person where another policy counts now."""
    return _each_alone(("renewals ahead", looking_ahead.look_ahead_when_due), ("compliance", compliance.judge_when_due))


@shared_task
def keep_verdicts() -> int:
    """Judge what the policy in force has not judged yet."""
    return verdicts.keep_verdicts()


@shared_task
def clean_up() -> int:
    """Delete rows that are not needed any more; settings say how long each kind is kept."""
    return _each_alone(
        ("expired sessions", cleaning.delete_expired_sessions),
        ("sessions that have ended", cleaning.delete_ended_sessions),
        ("old attempts", cleaning.delete_old_attempts),
        ("old mails", cleaning.delete_old_mails),
        ("messages to webhooks", cleaning.delete_old_deliveries),
        ("old alerts", cleaning.delete_old_alerts),
        ("old counters", cleaning.delete_old_counters),
        ("challenges for approvals", cleaning.delete_old_challenges),
        ("old drafts of requests", cleaning.delete_old_request_drafts),
        ("old policy replays", replays.delete_old_replays),
    )


# It reads every row, so it may take long, and nothing is lost when it is killed. So the message is
# acknowledged at its start, or the broker would deliver it again while it runs.
@shared_task(time_limit=7200, soft_time_limit=7000, acks_late=False)
def verify_records() -> dict[str, int]:
    """Verify the audit log, and compare it with the tables. Needs the files of the sealer."""
    return nightly.verify_records()
