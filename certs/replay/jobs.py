"""The life of a replay: begun, judged part by part by any number of workers, finished, cancelled.

A part is claimed with a lease. A worker that is killed, or loses the database, loses its part to the
next worker after the lease; a part that kills its worker three times ends the replay, and says so.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

from celery import signature
from django.db import transaction
from django.db.models import Max, Min, Q
from kombu.exceptions import OperationalError

from certs.alone import DATABASE_AWAY, Alone
from certs.errors import Conflict
from certs.models import Certificate, CertificateRequest, PolicyReplay, ReplayFinding, ReplayPart, new_public_id
from certs.pipeline import queue_of
from certs.replay.summary import summary_of
from certs.replay.timelines import candidate_time_line, counting_versions, counting_waivers, present_time_line
from certs.replay.work import Tally, judge_certificates, judge_requests
from certs.requests.facts.ownership import Ownership
from db.clock import database_now
from db.rows import NewRows, write_new
from policy.errors import PolicyCorrupt
from policy.models import PolicyVersion

log = logging.getLogger(__name__)

TASK = "certs.tasks.replay_policy"
RANGE = 20_000  # ids of one part: about a second of work, and what is lost with a worker
LEASE = timedelta(minutes=2)
MOST_TRIES = 3
AT_ONCE = 2  # messages at the begin: two workers share the parts
TURN = timedelta(seconds=20)  # then the worker looks at its other messages
LONGEST_DAYS_BACK = 400
KEPT = timedelta(days=30)
MOST_RUNNING = 3


def begin_replay(version: PolicyVersion, *, starts: datetime, days_back: int, asked_by: str) -> PolicyReplay:
    """Begin a replay of a version that counts from `starts` on. Effects: the job and its parts, and messages for two workers.

    Raises Conflict where three replays run already, or this one does.
    """
    now = database_now()
    since = now - timedelta(days=min(max(days_back, 0), LONGEST_DAYS_BACK))
    with transaction.atomic():
        # Two clicks at once: the second one sees the first.
        PolicyVersion.objects.select_related(None).select_for_update().get(pk=version.pk)
        running = PolicyReplay.objects.filter(state=PolicyReplay.State.RUNNING)
        if running.count() >= MOST_RUNNING or running.filter(version=version).exists():
            raise Conflict("A replay runs already.", next_step="Wait for its end, or cancel it on its page, and try again.")
        ends = Certificate.objects.aggregate(first=Min("pk"), last=Max("pk"))
        first, last = ends["first"] or 1, ends["last"] or 0
        replay = PolicyReplay.objects.create(
            public_id=new_public_id("replay", now),
            version=version,
            version_name=version.version,
            rules_digest=version.digest,
            starts=max(starts, now),
            days_back=days_back,
            compared_with=compared_with(now),
            waivers=[waiver.reference for waiver, _, _ in counting_waivers(now)],
            asked_by=asked_by,
            begun_at=now,
            last_certificate=last,
        )
        first_request, last_request = _requests_since(since)
        parts = [
            *_parts(replay, ReplayPart.Kind.CERTIFICATES, first, last),
            *_parts(replay, ReplayPart.Kind.REQUESTS, first_request, last_request),
        ]
        ReplayPart.objects.bulk_create(parts)
        if not parts:
            _finish(replay, now)
        transaction.on_commit(partial(_publish, replay.pk, AT_ONCE))
    return replay


def compared_with(now: datetime) -> list[str]:
    """Return the digests of what counts now and later: a replay is outdated once they are others."""
    return [f"{row.version}:{row.digest[:16]}" for row in counting_versions(now)]


def _requests_since(since: datetime) -> tuple[int, int]:
    # Public ids begin with the time, and have an index.
    found = CertificateRequest.objects.filter(public_id__gte=f"req-{since:%Y%m%d%H%M%S}", public_id__lt="req-a")
    ends = found.aggregate(first=Min("pk"), last=Max("pk"))
    return ends["first"] or 1, ends["last"] or 0


def _parts(replay: PolicyReplay, kind: ReplayPart.Kind, first: int, last: int) -> list[ReplayPart]:
    return [ReplayPart(replay=replay, kind=kind, first=start, last=min(start + RANGE - 1, last)) for start in range(first, last + 1, RANGE)]


def _publish(pk: int, messages: int) -> None:
    """Tell workers. Where the broker is away, the sweeper finds the replay."""
    try:
        for _ in range(messages):
            signature(TASK, args=(pk,)).set(queue=queue_of(TASK, bulk=True)).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, a replay waits for the sweeper: %s", exc)


def work_on(pk: int) -> int:
    """Judge parts of a replay for some seconds, then send it on to the next turn. Returns how many parts were judged.

    Raises what a database that is away raises; the replay goes on when it is back.
    """
    until, done = database_now() + TURN, 0
    replay = PolicyReplay.objects.select_related("version").filter(pk=pk).first()
    if replay is None:
        return 0
    bench: _Bench | None = None
    while database_now() < until:
        part = _claim(replay)
        if part is None:
            return done
        with Alone() as outcome:
            bench = bench or _Bench(replay)
            tally = bench.judge(part)
            _record(part, tally)
            done += 1
        if isinstance(outcome.error, DATABASE_AWAY):
            # The rules are not at fault: the sweeper has the part judged again after its lease, MOST_TRIES times at most.
            raise outcome.error
        if outcome.error is not None:
            log.error("a part of replay %s failed", replay, exc_info=outcome.error)
            _fail(replay, f"It could not be judged ({type(outcome.error).__name__}); the log has the reason.")
            return done
    _publish(pk, 1)
    return done


class _Bench:
    """What the parts of one replay share in one process."""

    def __init__(self, replay: PolicyReplay) -> None:
        self._replay, self._now = replay, replay.begun_at
        self._waivers = counting_waivers(self._now)
        self._present = present_time_line(self._now, self._waivers)
        if replay.version.digest != replay.rules_digest:
            raise PolicyCorrupt(str(replay.version), "the draft was changed while it was replayed")
        self._candidate, self._rules = candidate_time_line(
            self._present, replay.version.ruleset, starts=replay.starts, waivers=self._waivers
        )
        self._ownership = Ownership()

    def judge(self, part: ReplayPart) -> Tally:
        if part.kind == ReplayPart.Kind.CERTIFICATES:
            return judge_certificates(
                part.first,
                part.last,
                candidate=self._candidate,
                present=self._present,
                ownership=self._ownership,
                now=self._now,
            )
        starts = self._replay.starts
        since = self._now - timedelta(days=self._replay.days_back)
        return judge_requests(part.first, part.last, rules=self._rules, on=starts.date(), at=starts, since=since)


@transaction.atomic
def _claim(replay: PolicyReplay) -> ReplayPart | None:
    """Claim the next part whose lease nobody holds. None where there is none, or the replay has ended."""
    now = database_now()
    if not PolicyReplay.objects.filter(pk=replay.pk, state=PolicyReplay.State.RUNNING).exists():
        return None
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    found = ReplayPart.objects.select_for_update(skip_locked=True).filter(free, replay=replay, done_at__isnull=True)
    part = found.order_by("pk").first()
    if part is None:
        return None
    if part.tries >= MOST_TRIES:
        _fail(replay, f"Workers were lost at the same part ({part}) {MOST_TRIES} times.")
        return None
    part.tries, part.lease_until = part.tries + 1, now + LEASE
    part.save(update_fields=["tries", "lease_until"])
    return part


def _record(part: ReplayPart, tally: Tally) -> None:
    """Store what a part found, unless somebody else did or the replay has ended; the last part ends the replay."""
    now = database_now()
    with transaction.atomic():
        replay = PolicyReplay.objects.select_for_update(of=("self",)).get(pk=part.replay_id)
        row = ReplayPart.objects.select_for_update().get(pk=part.pk)
        if replay.state != PolicyReplay.State.RUNNING or row.done_at is not None or row.tries != part.tries:
            return
        write_new([_findings(part, tally)])
        row.result, row.done_at = tally.to_dict(), now
        row.save(update_fields=["result", "done_at"])
        if not ReplayPart.objects.filter(replay=replay, done_at__isnull=True).exists():
            _finish(replay, now)


def _findings(part: ReplayPart, tally: Tally) -> NewRows:
    """Return the findings as rows for COPY: model objects would cost more than judging them."""
    is_certificate = part.kind == ReplayPart.Kind.CERTIFICATES
    names = ("replay_id", "part_id", "certificate_id", "request_id", "team_id", "outcome", "before", "on", "reason")
    return NewRows(
        ReplayFinding._meta.db_table,
        ", ".join(f'"{name}"' for name in names),
        [(part.replay_id, part.pk, pk if is_certificate else None, None if is_certificate else pk, *rest) for pk, *rest in tally.findings],
    )


def _finish(replay: PolicyReplay, now: datetime) -> None:
    replay.summary = summary_of(ReplayPart.objects.filter(replay=replay).values_list("kind", "result"))
    replay.state, replay.ended_at = PolicyReplay.State.DONE, now
    replay.save(update_fields=["summary", "state", "ended_at"])


def _fail(replay: PolicyReplay, error: str) -> None:
    running = PolicyReplay.objects.filter(pk=replay.pk, state=PolicyReplay.State.RUNNING)
    running.update(state=PolicyReplay.State.FAILED, error=error[:300], ended_at=database_now())


def cancel_replay(replay: PolicyReplay) -> bool:
    """Cancel a replay that runs; what its workers have in hand is thrown away. Returns whether it ran."""
    running = PolicyReplay.objects.filter(pk=replay.pk, state=PolicyReplay.State.RUNNING)
    return bool(running.update(state=PolicyReplay.State.CANCELLED, ended_at=database_now()))


def sweep_replays() -> int:
    """Tell a worker of each replay that runs and on which nobody works. Returns how many there were."""
    now = database_now()
    held = ReplayPart.objects.filter(done_at__isnull=True, lease_until__gt=now).values("replay")
    idle = PolicyReplay.objects.filter(state=PolicyReplay.State.RUNNING, begun_at__lt=now - timedelta(seconds=10)).exclude(pk__in=held)
    found = list(idle.values_list("pk", flat=True))
    for pk in found:
        _publish(pk, 1)
    return len(found)


def progress(replay: PolicyReplay) -> tuple[int, int]:
    """Return how many parts are done, and how many there are."""
    parts = replay.parts.aggregate(done=Max("done_at"), all=Max("pk"))
    if parts["all"] is None:
        return 0, 0
    return replay.parts.filter(done_at__isnull=False).count(), replay.parts.count()


def outdated_because(replay: PolicyReplay, *, now: datetime) -> list[str]:
    """Return why the result is no longer what a new replay would find; empty while it is."""
    reasons = []
    if replay.version.digest != replay.rules_digest:
        reasons.append("the rules were changed since")
    if replay.compared_with != compared_with(now):
        reasons.append("other versions are in force or planned now")
    if replay.waivers != [waiver.reference for waiver, _, _ in counting_waivers(now)]:
        reasons.append("waivers were added or have ended")
    if (Certificate.objects.aggregate(last=Max("pk"))["last"] or 0) > replay.last_certificate:
        reasons.append("certificates were issued since")
    if now - replay.begun_at > timedelta(days=1):
        reasons.append("it is older than a day")
    return reasons


def delete_old_replays() -> int:
    """Delete replays that ended a month ago, with what they found. Returns how many."""
    old = PolicyReplay.objects.filter(ended_at__lt=database_now() - KEPT)
    number = old.count()
    for replay in old[:20]:
        ReplayFinding.objects.filter(replay=replay).delete()
        replay.delete()
    return number
