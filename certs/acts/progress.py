"""How far an act is, counted from its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, QuerySet

from certs.access.permissions import Authority
from certs.enums import RequestState, RevocationReason
from certs.models import BulkAct, BulkActLine, Certificate, CertificateRequest, InstalledPlace
from certs.models.certificate import CertificateQuerySet

Outcome = BulkActLine.Outcome
PAGE = 50
_SHOWN = 10  # teams, reasons or places


@dataclass(frozen=True, slots=True)
class Tally:
    """Lines by what became of them; each is in exactly one of the numbers."""

    waiting: int = 0
    done: int = 0
    unchanged: int = 0
    refused: int = 0
    failed: int = 0
    left_out: int = 0
    cancelled: int = 0

    @property
    def tried(self) -> int:
        """Return the lines that were not left out in the preview."""
        return self.waiting + self.ended

    @property
    def ended(self) -> int:
        """Return the lines of which nothing more will come."""
        return self.done + self.unchanged + self.refused + self.failed + self.cancelled


def tally_of(act: BulkAct) -> Tally:
    """Count the lines in one query."""
    counted = act.lines.order_by().values_list("outcome").annotate(number=Count("pk"))
    return Tally(**{str(outcome): number for outcome, number in counted})


def requests_of(act: BulkAct) -> list[tuple[RequestState, int]]:
    """Return how far the requests are that an act has made, in the order of the states: a line is done when its renewal is requested."""
    made = act.lines.exclude(result="").values("result")
    rows = CertificateRequest.objects.filter(public_id__in=made).order_by()
    counted = dict(rows.values_list("state").annotate(Count("pk")))
    return [(state, counted[state]) for state in RequestState if state in counted]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a preview says about all lines together."""

    teams: list[tuple[str, int]]
    more_teams: int
    reasons: list[tuple[str, int]]
    other_reasons: int  # lines that are left out for reasons beyond the first ones
    places: list[InstalledPlace]
    more_places: int
    others_on_keys: int  # certificates in force on the same public keys that are not in the act


def summary_of(act: BulkAct, *, authority: Authority) -> Summary:
    """Return the teams, the places that serve, and why lines are left out, of certificates that the actor may see now."""
    visible = authority.visible().order_by()
    chosen = act.lines.filter(outcome=Outcome.WAITING, certificate__in=visible.values("pk"))
    by_team = chosen.order_by().values_list("certificate__team__name").annotate(Count("pk"))
    teams = sorted(by_team, key=_largest_first)
    left_out = act.lines.filter(outcome=Outcome.LEFT_OUT, certificate__in=visible.values("pk"))
    reasons = sorted(left_out.order_by().values_list("reason").annotate(Count("pk")), key=_largest_first)
    served = InstalledPlace.objects.filter(served__in=chosen.values("certificate"))
    places = list(served.order_by("host", "port").select_related("served")[: _SHOWN + 1])
    more_places = served.count() - _SHOWN if len(places) > _SHOWN else 0
    return Summary(
        teams[:_SHOWN],
        max(0, len(teams) - _SHOWN),
        reasons[:_SHOWN],
        sum(number for _, number in reasons[_SHOWN:]),
        places[:_SHOWN],
        more_places,
        _others_on_keys(act, visible, chosen),
    )


def _largest_first(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]


def _others_on_keys(act: BulkAct, visible: CertificateQuerySet, chosen: QuerySet[BulkActLine]) -> int:
    """Count what else would stand on a key that is reported as compromised."""
    if act.options.get("reason") != RevocationReason.KEY_COMPROMISE:
        return 0
    ids = chosen.values("certificate")
    keys = Certificate.objects.filter(pk__in=ids).values("spki_sha256")
    others = visible.filter(spki_sha256__in=keys, status=Certificate.Status.GOOD)
    return others.exclude(pk__in=ids).count()


def lines_page(act: BulkAct, outcome: str, after: int) -> tuple[Sequence[BulkActLine], int]:
    """Return a page of lines behind the number `after`, and the number to continue from; 0 on the last."""
    rows = act.lines.filter(number__gt=after)
    if outcome:
        rows = rows.filter(outcome=outcome)
    found = list(rows.order_by("number")[: PAGE + 1])
    return found[:PAGE], found[PAGE - 1].number if len(found) > PAGE else 0
