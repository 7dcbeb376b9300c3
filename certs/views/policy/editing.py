"""Step one of a change: the draft as sentences with fields. What was typed is kept beside every fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.models import PolicyReplay
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, page
from certs.views.policy.versions import before_of, draft_of
from db.clock import database_now
from policy.drafting import change_draft
from policy.errors import PolicyConflict
from policy.models import PolicyVersion
from policy.rules import Fault, RuleSet, RuleSetInvalid, ruleset_from_dict, ruleset_to_dict
from policy.rules.keys import OFFERED, key_name
from policy.texts.descriptions import DESCRIPTIONS, Description, rule_sentences
from policy.texts.differences import differences
from policy.texts.fields import Shown, rules_from_form, shown_fields
from policy.texts.yaml_text import TextInvalid, ruleset_from_yaml, ruleset_to_yaml

KEYS = tuple(key_name(family, size) for family, sizes in OFFERED.items() for size in sizes)


@dataclass(frozen=True, slots=True)
class Section:
    """One rule of the form."""

    description: Description
    stated: bool
    fields: list[Shown]
    sentences: tuple[str, ...]
    faults: tuple[str, ...]


@page
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the draft's form; save what is sent, for the draft that was shown."""
    draft = draft_of(request, pk)
    if request.method != "POST":
        return _form(request, draft, ruleset_to_dict(draft.ruleset), [])
    if request.POST.get("shown") != draft.stamp:
        raise PolicyConflict(f"{draft} was changed since you saw it. Load the draft again; nothing was stored.")
    texts = [request.POST.get(name, "") for name in ("note", "text", "version", "allowed_profiles")]
    refuse_secrets(*texts, actor=actor_of(request), team="", field="note", channel="portal")
    faults: list[Fault] = []
    starts = _moment(request, faults)
    note = request.POST.get("note", "").strip()[:500]
    if request.POST.get("do") == "text":
        return _save_text(request, draft, starts, note, faults)
    data = rules_from_form(request.POST.getlist)
    try:
        ruleset_from_dict(data)
    except RuleSetInvalid as exc:
        faults += exc.faults
    if faults:
        return _form(request, draft, data, faults, status=422)
    return _save(request, draft, data, starts, note)


def _save(request: HttpRequest, draft: PolicyVersion, data: Mapping[str, Any], starts: datetime | None, note: str) -> HttpResponse:
    change_draft(draft, data, actor=actor_of(request), now=database_now(), proposed_from=starts, note=note)
    return redirect("policy-effect" if request.POST.get("do") == "next" else "policy-edit", draft.pk)


def _save_text(request: HttpRequest, draft: PolicyVersion, starts: datetime | None, note: str, faults: list[Fault]) -> HttpResponse:
    text = request.POST.get("text", "")
    try:
        ruleset = ruleset_from_yaml(text)
    except TextInvalid as exc:
        context_faults = [*faults, *(Fault("text", str(one)) for one in exc.faults)]
        return _form(request, draft, ruleset_to_dict(draft.ruleset), context_faults, text=text, status=422)
    if faults:
        return _form(request, draft, ruleset_to_dict(draft.ruleset), faults, text=text, status=422)
    return _save(request, draft, ruleset_to_dict(ruleset), starts, note)


def _moment(request: HttpRequest, faults: list[Fault]) -> datetime | None:
    """Return the moment typed as date and time (UTC, midnight where none is given); None where no date is."""
    day, clock = request.POST.get("from_date", "").strip(), request.POST.get("from_time", "").strip()
    if not day:
        return None
    try:
        moment = datetime.combine(date.fromisoformat(day), time.fromisoformat(clock or "00:00"), UTC)
    except ValueError:
        faults.append(Fault("from", "Write a date such as 2026-12-15, and a time such as 06:00 or none."))
        return None
    if moment <= database_now():
        faults.append(Fault("from", "This is over. Choose a later date, or none: then it begins when it is published."))
    return moment


def _form(
    request: HttpRequest,
    draft: PolicyVersion,
    data: Mapping[str, Any],
    faults: Sequence[Fault],
    *,
    text: str | None = None,
    status: int = 200,
) -> HttpResponse:
    typed = request.POST if request.method == "POST" else None
    before = before_of(draft)
    starts = draft.proposed_from
    context = {
        "row": draft,
        "sections": [_section(one, data["rules"], draft.ruleset, faults) for one in DESCRIPTIONS.values()],
        "data": data,
        "keys": KEYS,
        "from_date": typed.get("from_date", "") if typed else f"{starts:%Y-%m-%d}" if starts else "",
        "from_time": typed.get("from_time", "") if typed else f"{starts:%H:%M}" if starts else "",
        "note": typed.get("note", "") if typed else draft.note,
        "text": ruleset_to_yaml(draft.ruleset) if text is None else text,
        "faults": faults,
        "fault_of": {one.where: one.message for one in faults},
        "loose": [one for one in faults if not _is_beside_a_field(one.where)],
        "beside": [(_anchor(one.where), one.message) for one in faults if _is_beside_a_field(one.where)],
        "before": before,
        "changes": differences(before.ruleset, draft.ruleset) if before else [],
        "replayed": PolicyReplay.objects.filter(version=draft).exists(),
        "step": "change",
        "now": database_now(),
    }
    return render(request, "policy/edit.html", context, status=status)


_BESIDE = ("version", "from", "text", "approval_valid_days", "defaults.key", "defaults.validity_days", "defaults.profile")


def _is_beside_a_field(where: str) -> bool:
    return where in _BESIDE or where.startswith(("rules.", "approval."))


def _anchor(where: str) -> str:
    """Return the id of the field, or of the rule, that a fault is about."""
    if where.startswith("rules."):
        return f"rule_{where.split('.')[1]}"
    return "id_from_date" if where == "from" else f"id_{where}"


def _section(description: Description, rules: Mapping[str, Any], ruleset: RuleSet, faults: Sequence[Fault]) -> Section:
    name = description.rule.name
    params = rules.get(name)
    fields = shown_fields(description, params or {}, faults)
    beside = {message for field in fields for message in field.faults}
    mine = [one for one in faults if one.where == f"rules.{name}" or one.where.startswith(f"rules.{name}.")]
    rule = next((one for one in ruleset.rules if one.name == name), None)
    return Section(
        description,
        params is not None,
        fields,
        rule_sentences(rule) if rule else (),
        tuple(one.message for one in mine if one.message not in beside),
    )
