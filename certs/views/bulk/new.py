"""A new order: said in words, uploaded or pasted, and drafted. Nothing is issued before the draft is submitted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from certs.access.permissions import teams_of
from certs.bulk.drafting.draft import draft, lines_of
from certs.bulk.drafting.upload import read_lines
from certs.enums import RefusalClass
from certs.errors import Busy, InputRefused, NotUnderstood
from certs.models import BulkOrder, Team
from certs.requests.plan import defaults_for, plan_words
from certs.requests.submit import Requester
from certs.servers.commands import CSRContent, compose_many
from certs.servers.kinds import Place
from certs.spec import IssuePlan
from certs.uploads import template_csv, template_xlsx
from certs.uploads.formats.columns import COLUMNS, LEFT_OUT, MOST_TITLES, ColumnsNotKnown
from certs.uploads.line import Changed, Line
from certs.views.access import page, requester_of
from certs.views.teams.teams import without_team
from db.clock import database_now

# Where the private keys will be decides what has to be sent, so it is asked first.
OWN, STORE = "own", "store"
KEYS = (
    (OWN, "On our own servers", "Each server makes its key; you send the CSRs. For web servers, Java and devices."),
    (
        STORE,
        "In the portal's key store",
        "The portal makes the keys and never hands them out. For programs that sign through the key store.",
    ),
)
WAYS = {
    OWN: (("file", "Upload CSRs"), ("csrs", "Paste CSRs")),
    STORE: (("words", "In words"), ("file", "Upload a table")),
}
KEYS_STAY = "The portal makes the keys in its key store, where they stay: no file of a key can be downloaded"
_LONGEST_QUERY = 2000  # characters: servers and proxies take at least twice that in an address
_WAYS_OF_LINKS = {"csrs": OWN, "file": STORE, "words": STORE}  # for addresses that say only how
_COLUMN_LABELS = {
    "name": "Name",
    "sans": "Further names",
    "key": "Key type",
    "validity_days": "Validity",
    "profile": "Profile",
    "owner": "Team",
    "csr": "CSR",
    LEFT_OUT: "(leave this column out)",
}
TEMPLATES = {
    "csv": (template_csv, "text/csv; charset=utf-8"),
    "xlsx": (template_xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, way=request.GET.get("via", ""))
    way = request.POST.get("via", "words")
    try:
        order = _drafted(request, way)
    except NotUnderstood as exc:
        text = request.POST.get("text", "")
        marked = {"before": text[: exc.position], "there": text[exc.position :][:1] or " ", "after": text[exc.position + 1 :]}
        return _form(request, way="words", status=exc.status, error=exc, **marked)
    except ColumnsNotKnown as exc:
        columns = [(column, _COLUMN_LABELS[column]) for column in (*COLUMNS, LEFT_OUT)]
        return _form(request, way=way, status=exc.status, error=exc, titles=exc.titles, meanings=columns, left_out=LEFT_OUT)
    except InputRefused as exc:
        return _form(request, way=way, status=exc.status, error=exc)
    except Busy as exc:
        response = _form(request, way=way, status=exc.status, error=exc)
        response["Retry-After"] = str(exc.retry_after)
        return response
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": reverse("bulk-order", args=[order.public_id])})
    return redirect("bulk-order", order.public_id)


@page
@require_safe
def template(_request: HttpRequest, form: str) -> HttpResponse:
    """The table to fill in."""
    make, content_type = TEMPLATES[form]
    response = HttpResponse(make(), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="certificates.{form}"'
    return response


def _drafted(request: HttpRequest, way: str) -> BulkOrder:
    requester = requester_of(request, request.POST.get("team", ""))
    match way:
        case "file":
            return _from_file(request, requester)
        case "csrs":
            data = request.POST.get("csrs", "").encode()
            lines = _as_said(request, requester, read_lines(data, filename="", requester=requester))
            return draft(lines, requester=requester, title="Pasted CSRs")
    text = request.POST.get("text", "")
    plan = plan_words(text, requester=requester)
    if not isinstance(plan, IssuePlan):
        raise InputRefused(
            "These words do not ask for certificates.", field="text", next_step="Renewals and revocations are said on the first page."
        )
    return drafted_plan(plan, text, requester)


def _from_file(request: HttpRequest, requester: Requester) -> BulkOrder:
    upload = request.FILES.get("file")
    if upload is None:
        raise InputRefused("No file was chosen.", field="file", next_step="Choose a CSV, XLSX or zip file, or CSRs in PEM.")
    # One octet more than is allowed tells a file that is too large, without reading all of it.
    data = upload.read(settings.PKI_BULK_MAX_BYTES + 1)
    name = str(upload.name or "")
    lines: Collection[Line] = read_lines(data, filename=name, requester=requester, mapped=_mapped(request))
    if request.POST.get("keys") == OWN:
        lines = Changed(_as_said(request, requester, lines), _with_csr_only)
    return draft(lines, requester=requester, title=name)


def _as_said(request: HttpRequest, requester: Requester, lines: Collection[Line]) -> Collection[Line]:
    """The lines with the validity of the sentence for whose names the CSRs were made: a CSR holds none.

    A table that names a validity keeps its own.
    """
    text = request.POST.get("said", "")[:_LONGEST_QUERY]
    if not text:
        return lines
    try:
        plan = plan_words(text, requester=requester)
    except (InputRefused, NotUnderstood):
        return lines
    if not isinstance(plan, IssuePlan):
        return lines
    assumed = defaults_for(requester.team, now=database_now()).validity_note
    said = plan.specs[0]

    def change(line: Line) -> Line:
        if line.spec is None or assumed not in line.notes:
            return line
        spec = replace(line.spec, validity_days=said.validity_days, not_after=said.not_after)
        notes = tuple(note for note in line.notes if note != assumed)
        return replace(line, spec=spec, notes=(*notes, f"Validity {said.validity.text}: from your sentence"))

    return lines if assumed in plan.notes else Changed(lines, change)


def _mapped(request: HttpRequest) -> dict[tuple[int, str], str]:
    """What the person said the titles of the table mean."""
    given, found = request.POST, {}
    for place in range(MOST_TITLES):
        column, title = given.get(f"column-{place}", ""), given.get(f"title-{place}", "")
        if column in _COLUMN_LABELS and title:
            found[place, title] = column
    return found


def _with_csr_only(line: Line) -> Line:
    """The same line; one without a CSR cannot be used where the keys are on the requester's servers."""
    if line.spec is None or line.spec.spki_der is not None:
        return line
    problem = "csr: The row has no CSR, but the keys are on your own servers. Add the CSR, or order it with a key in the key store."
    return replace(line, spec=None, problem=problem, field="csr")


def where_keys_will_be(plan: IssuePlan, text: str, requester: Requester) -> str:
    """Return the address that asks where the keys of a sentence will be, with the sentence; "" where it says the vault.

    "" too for a sentence that no address holds: its draft says where the keys will be.
    """
    if plan.place == Place.VAULT:
        return ""
    given = {"text": text, "team": requester.team.slug} | ({"keys": OWN} if plan.place else {})
    query = urlencode(given)
    return f"{reverse('bulk-new')}?{query}" if len(query) <= _LONGEST_QUERY else ""


def _said(request: HttpRequest, team: Team, keys: str) -> dict[str, Any]:
    """The sentence of the address, and for keys on servers the command that makes them with their CSRs."""
    text = (request.POST.get("said", "") if request.method == "POST" else request.GET.get("text", ""))[:_LONGEST_QUERY]
    if request.method == "POST" or not text or keys != OWN:
        return {"said": text}
    try:
        plan = plan_words(text, requester=requester_of(request, team.slug))
    except (InputRefused, NotUnderstood) as exc:
        return {"error": exc}
    if not isinstance(plan, IssuePlan):
        return {"said": text}
    wanted = [CSRContent((*spec.dns_names, *spec.ip_addresses), spec.key, spec.profile) for spec in plan.specs]
    return {"said": text, "wanted": len(wanted), "command": compose_many(wanted)}


def drafted_plan(plan: IssuePlan, text: str, requester: Requester) -> BulkOrder:
    """A plan of several certificates as a draft order, with what was assumed for it."""
    return draft(lines_of(plan), requester=requester, title=text, notes=[*plan.notes, KEYS_STAY])


def _form(request: HttpRequest, *, way: str, status: int = 200, **more: Any) -> HttpResponse:
    teams = teams_of(request.user)
    if not teams:
        return without_team(request, status=status)
    given = request.POST if request.method == "POST" else request.GET
    chosen = next((team for team in teams if team.slug == given.get("team")), teams[0])
    keys = given.get("keys", _WAYS_OF_LINKS.get(way, ""))
    ways = WAYS.get(keys, ())
    context = {
        "keys": keys if ways else "",
        "places": KEYS,
        "ways": ways,
        "way": way if way in dict(ways) else next(iter(dict(ways)), ""),
        "teams": teams,
        "team": chosen,
        "examples": (
            "Issue certificates for api-1 through api-10, all RSA 4096, 90 days",
            f"Certificates for node-{{1..20}}.{chosen.example_domain}, P-256",
        ),
        "defaults": defaults_for(chosen, now=database_now()),
        "max_lines": settings.PKI_BULK_MAX_LINES,
        "max_bytes": settings.PKI_BULK_MAX_BYTES,
        "max_form_bytes": settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
        "max_csr_bytes": settings.PKI_MAX_CSR_BYTES,
        "columns": COLUMNS,
        "max_names": settings.PKI_MAX_NAMES,
        # A pasted secret goes back to nobody, not even to the page that it was typed into.
        "given": {} if getattr(more.get("error"), "refusal", "") == RefusalClass.SECRET_PASTED else given,
        **_said(request, chosen, keys),
    }
    if request.headers.get("HX-Request"):  # into the form that has the chosen file, which no page could give back
        return render(request, "bulk/new_error.html", context | more)
    return render(request, "bulk/new.html", context | more, status=status)
