"""Waivers: the list, the request of one, and its approval or end."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.errors import InputRefused
from certs.models import Team
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, page
from certs.views.policy.versions import in_force, may_write, see
from certs.x509.dns_names import parse_dns_name, parse_ip_address
from db.clock import database_now
from policy.models import PolicyWaiver
from policy.rules import Fault, RuleSetInvalid, ruleset_to_dict
from policy.texts.descriptions import DESCRIPTIONS, label_of, rule_sentences
from policy.texts.fields import read_params, shown_fields
from policy.waivers.deciding import LONGEST, approve_waiver, end_waiver, request_waiver
from policy.waivers.waiver import WAIVABLE

MOST_OPEN, SHOWN = 500, 50
MOST_FAULTS = 10


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the waivers, those that wait and those that count first."""
    may, now = see(request), database_now()
    rows = PolicyWaiver.objects.filter(policy__name=settings.PKI_DEFAULT_POLICY).select_related("requester", "approver")
    order = ["waiting", "active", "planned", "ended", "rejected"]
    # Those that wait or count come first, however old they are.
    open_ones = rows.filter(ended_at__isnull=True, ends__gt=now).order_by("-pk")[:MOST_OPEN]
    over = rows.filter(Q(ended_at__isnull=False) | Q(ends__lte=now)).order_by("-pk")[:SHOWN]
    found = sorted([*open_ones, *over], key=lambda row: order.index(row.state_at(now)))
    context = {
        "may": may,
        "waivers": [(row, row.state_at(now), label_of(row.rule), _instead(row)) for row in found],
        "now": now,
    }
    return render(request, "policy/waivers.html", context)


def _instead(row: PolicyWaiver) -> tuple[str, ...]:
    """Return the sentences that count instead; none for a rule without parameters."""
    rule = row.waiver.relaxed
    return rule_sentences(rule) if DESCRIPTIONS[rule.name].fields else ("The rule does not count for these names.",)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Choose a rule, then say what counts instead, for whom, why and until when."""
    may_write(request)
    now, current = database_now(), in_force(database_now())
    rule = request.GET.get("rule", "")
    stated = ruleset_to_dict(current.ruleset)["rules"] if current else {}
    if rule not in WAIVABLE or rule not in stated:
        choices = [(name, label_of(name), DESCRIPTIONS[name].about) for name in WAIVABLE if name in stated]
        return render(request, "policy/waiver_rule.html", {"choices": choices, "now": now})
    params: dict[str, Any] = stated[rule]
    faults: tuple[Fault, ...] = ()
    if request.method == "POST":
        texts = [request.POST.get(name, "") for name in ("reason", "names", "allowed_profiles")]
        refuse_secrets(*texts, actor=actor_of(request), team="", field="reason", channel="portal")
        params = read_params(DESCRIPTIONS[rule], request.POST.getlist)
        try:
            row = _request(request, rule, params, now)
        except RuleSetInvalid as exc:
            faults = exc.faults
        else:
            messages.success(request, f"Waiver {row} waits for a second officer.")
            return redirect("policy-waivers")
    typed = request.POST
    context = {
        "rule": rule,
        "label": label_of(rule),
        "about": DESCRIPTIONS[rule].about,
        "fields": shown_fields(DESCRIPTIONS[rule], params, faults),
        "teams": Team.objects.order_by("name"),
        "chosen": typed.getlist("teams"),
        "typed": typed,
        "ends": typed.get("ends", f"{now + timedelta(days=90):%Y-%m-%d}"),
        "latest": f"{now + LONGEST:%Y-%m-%d}",
        "faults": faults,
        "fault_of": {one.where: " ".join(two.message for two in faults if two.where == one.where) for one in faults},
        "loose": [one.message for one in faults if one.where not in ("names", "reason", "ends", "begins")],
        "now": now,
    }
    return render(request, "policy/waiver_new.html", context, status=422 if faults else 200)


def _request(request: HttpRequest, rule: str, params: dict[str, Any], now: datetime) -> PolicyWaiver:
    names = _names(request.POST.get("names", "")[:30_000])
    known = set(Team.objects.filter(slug__in=request.POST.getlist("teams")).values_list("slug", flat=True))
    begins = _day(request, "begins") or now
    ends = _day(request, "ends")
    if ends is None:
        raise RuleSetInvalid(Fault("ends", "Write the day on which the waiver ends."))
    return request_waiver(
        settings.PKI_DEFAULT_POLICY,
        rule=rule,
        params=params,
        names=names,
        teams=sorted(known),
        reason=request.POST.get("reason", "")[:1000],
        begins=begins,
        ends=ends,
        user=request.user,
        now=now,
    )


def _names(text: str) -> list[str]:
    """Return the names of the lines as certificates have them. Raises RuleSetInvalid with all that are none."""
    names, faults = [], []
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            names.append(parse_ip_address(line) or parse_dns_name(line, allow_unicode=True, field="names").ascii)
        except InputRefused as exc:
            faults.append(Fault("names", exc.message))
    if faults:
        raise RuleSetInvalid(*faults[:MOST_FAULTS])
    return list(dict.fromkeys(names))


def _day(request: HttpRequest, name: str) -> datetime | None:
    typed = request.POST.get(name, "").strip()
    if not typed:
        return None
    try:
        return datetime.combine(date.fromisoformat(typed), time(), UTC)
    except ValueError as exc:
        raise RuleSetInvalid(Fault(name, "Write a date such as 2027-03-31.")) from exc


@page
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Approve a waiver as a second officer, or reject or end it."""
    see(request)
    row = PolicyWaiver.objects.filter(policy__name=settings.PKI_DEFAULT_POLICY, pk=pk).first()
    if row is None or verb not in ("approve", "end"):
        raise Http404
    may_write(request)
    now = database_now()
    if verb == "approve":
        if request.POST.get("shown") != row.digest:
            raise InputRefused("This is not the waiver that you saw.", next_step="Load the page again.")
        approve_waiver(row, user=request.user, now=now)
        messages.success(request, f"Waiver {row} is approved.")
        return redirect("policy-waivers")
    reason = request.POST.get("reason", "").strip()[:500]
    if not reason:
        raise InputRefused("A reason is needed.", field="reason", next_step="Write why the waiver ends.")
    refuse_secrets(reason, actor=actor_of(request), team="", field="reason", channel="portal")
    end_waiver(row, reason=reason, user=request.user, now=now)
    messages.success(request, f"Waiver {row} has ended.")
    return redirect("policy-waivers")
