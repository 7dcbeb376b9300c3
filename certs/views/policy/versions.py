"""The time line of the policy, one version, and what an officer does with it: begin a draft, publish, withdraw."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.access.permissions import Permission, holds
from certs.errors import InputRefused, NotPermitted
from certs.models import PolicyReplay
from certs.notifications.wording import so_many
from certs.replay.announcing import publish_and_announce, touched_teams
from certs.replay.jobs import outdated_because
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, page
from db.clock import database_now
from policy.drafting import delete_draft, draft_version
from policy.errors import PolicyConflict, PublicationRefused
from policy.models import PolicyVersion, PolicyWaiver
from policy.persons import one_person_is_enough
from policy.publishing import check_second_person, withdraw_as
from policy.rules import RuleSet, ruleset_to_dict
from policy.texts.descriptions import label_of, sentences
from policy.texts.differences import differences
from policy.texts.next_versions import next_version, sc081_versions
from policy.texts.yaml_text import MOST_BYTES, TextInvalid, ruleset_from_yaml, ruleset_to_yaml

MOST_PAST = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """A version on the time line. `until`: when the next one begins."""

    version: PolicyVersion
    place: str  # planned, in force, past, withdrawn
    until: datetime | None = None


def see(request: HttpRequest) -> bool:
    """Return whether the person may write and publish policies. Raises Http404 for whom they do not concern."""
    if not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404
    return holds(request.user, Permission.PUBLISH_POLICIES)


def may_write(request: HttpRequest) -> None:
    """Raise NotPermitted unless the person may write and publish policies."""
    if not see(request):
        raise NotPermitted("Only security officers write policies.", next_step="Ask one of them.")


def version_of(request: HttpRequest, pk: int) -> PolicyVersion:
    """Return the version. Raises Http404 for whom it does not concern."""
    see(request)
    versions = PolicyVersion.objects.select_related("policy", "withdrawal", "drafter")
    row = versions.filter(policy__name=settings.PKI_DEFAULT_POLICY, pk=pk).first()
    if row is None:
        raise Http404
    return row


def draft_of(request: HttpRequest, pk: int) -> PolicyVersion:
    """Return the draft, for who may write it. Raises Http404, NotPermitted, PolicyConflict where it is published."""
    row = version_of(request, pk)
    may_write(request)
    if row.is_published:
        raise PolicyConflict(f"{row} is published and cannot be changed. Begin a new draft from it.")
    return row


def time_line(now: datetime) -> tuple[list[Entry], list[PolicyVersion]]:
    """Return the published versions, what begins last first, and the drafts. Each ends when the next one begins."""
    rows = PolicyVersion.objects.select_related("policy", "withdrawal").filter(policy__name=settings.PKI_DEFAULT_POLICY)
    published = rows.filter(state=PolicyVersion.State.PUBLISHED)
    entries: list[Entry] = []
    until, found = None, False
    for row in published.order_by("-effective_from", "-published_at", "-pk")[:MOST_PAST]:
        if hasattr(row, "withdrawal"):
            entries.append(Entry(row, "withdrawn"))
            continue
        begun = row.effective_from is not None and row.effective_from <= now
        place = "planned" if not begun else "past" if found else "in force"
        entries.append(Entry(row, place, until))
        found, until = found or begun, row.effective_from
    return entries, list(rows.filter(state=PolicyVersion.State.DRAFT).order_by("-drafted_at"))


def in_force(now: datetime) -> PolicyVersion | None:
    """Return the version that counts now, where there is one."""
    return PolicyVersion.objects.in_force(settings.PKI_DEFAULT_POLICY, now).first()


def described(ruleset: RuleSet) -> list[tuple[str, tuple[str, ...]]]:
    """Return the rules of a version for a page: label and sentences."""
    return [(label_of(name), found) for name, found in sentences(ruleset).items()]


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the rules in force, the time line and the drafts."""
    may, now = see(request), database_now()
    current = in_force(now)
    entries, drafts = time_line(now)
    waivers = PolicyWaiver.objects.filter(policy__name=settings.PKI_DEFAULT_POLICY, ended_at__isnull=True, ends__gt=now)
    context = {
        "may": may,
        "current": current,
        "rules": described(current.ruleset) if current else [],
        "entries": entries,
        "drafts": drafts,
        "waivers": waivers.filter(approved_at__isnull=False, begins__lte=now).count(),
        "waiting": waivers.filter(approved_at__isnull=True).count(),
        "now": now,
    }
    return render(request, "policy/index.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Begin a draft: from the version in force, from a file, or the versions of SC-081."""
    may_write(request)
    now = database_now()
    context: dict[str, Any] = {"current": in_force(now), "now": now, "typed": ""}
    if request.method != "POST":
        return render(request, "policy/new.html", context)
    if request.POST.get("from") == "sc081":
        return _plan_sc081(request, now)
    if request.POST.get("from") == "text":
        file = request.FILES.get("file")
        text = file.read(MOST_BYTES + 1) if file else request.POST.get("text", "")
        written = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        # Editors begin a file in UTF-8 with a mark that nobody sees.
        refuse_secrets(written.removeprefix("\ufeff"), actor=actor_of(request), team="", field="text", channel="portal")
        try:
            ruleset = ruleset_from_yaml(text)
        except TextInvalid as exc:
            context |= {"faults": exc.faults, "typed": "" if isinstance(text, bytes) else text}
            return render(request, "policy/new.html", context, status=422)
    else:
        before = context["current"]
        if before is None:
            raise PolicyConflict("No version is in force to begin from. Import a policy as text.")
        ruleset = next_version(before.ruleset, _taken())
    draft = draft_version(settings.PKI_DEFAULT_POLICY, ruleset_to_dict(ruleset), actor=actor_of(request), now=now)
    return redirect("policy-edit", draft.pk)


def _taken() -> set[str]:
    versions = PolicyVersion.objects.filter(policy__name=settings.PKI_DEFAULT_POLICY)
    return set(versions.values_list("version", flat=True))


def _plan_sc081(request: HttpRequest, now: datetime) -> HttpResponse:
    current = in_force(now)
    if current is None:
        raise PolicyConflict("No version is in force to begin from. Import a policy as text.")
    planned = sc081_versions(current.ruleset, now=now, taken=_taken())
    if not planned:
        raise PolicyConflict("The version in force is as strict as ballot SC-081 already. Nothing was drafted.")
    for ruleset, starts, note in planned:
        draft_version(
            settings.PKI_DEFAULT_POLICY,
            ruleset_to_dict(ruleset),
            actor=actor_of(request),
            now=now,
            proposed_from=starts,
            note=note,
        )
    messages.success(request, f"{so_many(len(planned), 'draft')} for ballot SC-081. Replay each, then a second officer publishes them.")
    return redirect("policy")


@page
@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one version in sentences, with what it changes."""
    row, now = version_of(request, pk), database_now()
    if not row.is_published and see(request):
        return redirect("policy-edit", row.pk)
    entry = next((one for one in time_line(now)[0] if one.version.pk == row.pk), Entry(row, "draft" if not row.is_published else "past"))
    before = before_of(row)
    context = {
        "row": row,
        "entry": entry,
        "may": see(request),
        "before": before,
        "rules": described(row.ruleset),
        "changes": differences(before.ruleset, row.ruleset) if before else [],
        "text": ruleset_to_yaml(row.ruleset),
        "replay": latest_replay(row),
        "now": now,
    }
    return render(request, "policy/version.html", context)


def before_of(row: PolicyVersion) -> PolicyVersion | None:
    """Return the version that counts when this one begins; of a draft, the one it would follow."""
    moment = row.effective_from or row.proposed_from or database_now()
    return PolicyVersion.objects.in_force(settings.PKI_DEFAULT_POLICY, moment).exclude(pk=row.pk).first()


def latest_replay(row: PolicyVersion) -> PolicyReplay | None:
    """Return the newest replay of the version that has not failed."""
    kept = (PolicyReplay.State.RUNNING, PolicyReplay.State.DONE)
    return PolicyReplay.objects.filter(version=row, state__in=kept).select_related("version").order_by("-pk").first()


@page
@require_safe
def as_yaml(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the version as a YAML file, which can be imported again."""
    row = version_of(request, pk)
    response = HttpResponse(ruleset_to_yaml(row.ruleset), content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="policy-{row.version}.yaml"'
    return response


@page
@require_http_methods(["GET", "HEAD", "POST"])
def publish(request: HttpRequest, pk: int) -> HttpResponse:
    """Step three: a second officer reads what changes and publishes exactly that."""
    row, now = draft_of(request, pk), database_now()
    if request.method == "POST":
        if request.POST.get("shown") != row.stamp:
            raise PolicyConflict(f"{row} was changed since you saw it. Read it again; nothing was published.")
        before = before_of(row)
        if request.POST.get("before", "") != _number_of(before):
            raise PolicyConflict(f"{row} follows {before or 'no version'} by now. Read again what it changes; nothing was published.")
        replay = latest_replay(row)
        fresh = replay is not None and replay.state == PolicyReplay.State.DONE and not outdated_because(replay, now=now)
        if not fresh and not request.POST.get("unseen"):
            return _publish_page(request, row, now, unseen=True, status=422)
        published, announced = publish_and_announce(row, replay=replay if fresh else None, before=before, user=request.user, now=now)
        when = "is in force" if published.effective_from == now else f"begins on {published.effective_from:%d %b %Y %H:%M} UTC"
        messages.success(request, f"{published.version} {when}. {so_many(announced, 'team')} {'gets' if announced == 1 else 'get'} a mail.")
        return redirect("policy")
    return _publish_page(request, row, now)


def _number_of(version: PolicyVersion | None) -> str:
    return str(version.pk) if version else ""


def _publish_page(request: HttpRequest, row: PolicyVersion, now: datetime, *, unseen: bool = False, status: int = 200) -> HttpResponse:
    before, replay = before_of(row), latest_replay(row)
    refusal = ""
    try:
        check_second_person(row, request.user)
    except PublicationRefused as exc:
        refusal = str(exc)
    context = {
        "row": row,
        "before": before,
        "changes": differences(before.ruleset if before else None, row.ruleset),
        "replay": replay,
        "outdated": outdated_because(replay, now=now) if replay else [],
        "teams": touched_teams(replay) if replay else [],
        "authors": sorted({*row.authors.values_list("username", flat=True), row.drafted_by}),
        "refusal": refusal,
        "alone": one_person_is_enough(),
        "late": row.proposed_from is not None and row.proposed_from < now,
        "unseen": unseen,
        "step": "publish",
        "now": now,
    }
    return render(request, "policy/publish.html", context, status=status)


@page
@require_POST
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Withdraw a planned version before it begins."""
    row = version_of(request, pk)
    may_write(request)
    reason = request.POST.get("reason", "").strip()[:500]
    if not reason:
        raise InputRefused("A reason is needed.", field="reason", next_step="Write why the version shall not begin.")
    refuse_secrets(reason, actor=actor_of(request), team="", field="reason", channel="portal")
    withdraw_as(row, user=request.user, reason=reason, now=database_now())
    messages.success(request, f"{row} was withdrawn. What is in force then stays in force.")
    return redirect("policy")


@page
@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a draft as it was shown."""
    row = draft_of(request, pk)
    if request.POST.get("shown") != row.stamp:
        raise PolicyConflict(f"{row} was changed since you saw it. Nothing was deleted.")
    delete_draft(row, actor=actor_of(request), now=database_now())
    messages.success(request, f"The draft {row.version} was deleted.")
    return redirect("policy")
