"""What the frame of every page shows: where a person can go, by team and role, and what waits there.

Everything is computed when a template uses it, so a part of a page without the frame costs no query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from certs.access.permissions import Permission, held_by, teams_of
from certs.inbox.inbox import COUNTED, Reader, count_waiting
from certs.inbox.present import Present, present
from certs.inventory import StateGroup, open_alerts
from certs.models import Team
from certs.schedules.alarm import KINDS

_ACTS = frozenset(
    {
        Permission.ACT_FOR_EVERY_TEAM,
        Permission.DECIDE_REQUESTS,
        Permission.OPERATE,
        Permission.PUBLISH_POLICIES,
    }
)


@dataclass(frozen=True, slots=True)
class Link:
    """A place to go. `here`: the page shown is part of it; `count`: how many things wait there."""

    label: str
    url: str
    here: bool
    count: int = 0

    @property
    def badge(self) -> str:
        """The count as the badge shows it."""
        return bounded(self.count) if self.count else ""


def bounded(count: int) -> str:
    """Return a count as a badge shows it: 99+ beyond."""
    return str(count) if count < COUNTED else f"{COUNTED - 1}+"


class Navigation:
    """The links of the person who asks. Nobody signed in: none."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._user: Any = getattr(request, "user", None)

    @cached_property
    def teams(self) -> list[Team]:
        """The teams for which the person may request certificates."""
        return teams_of(self._user) if self._is_signed_in else []

    @cached_property
    def permissions(self) -> frozenset[Permission]:
        """What the person may do beyond the teams, read once for the page that is shown."""
        return held_by(self._user) if self._is_signed_in else frozenset()

    @cached_property
    def reader(self) -> Reader:
        """The person as the inbox knows them."""
        return Reader(self._user, self.permissions, present())

    @cached_property
    def sees_every_team(self) -> bool:
        """Whether the person has one of the roles beyond the teams."""
        return Permission.SEE_EVERY_TEAM in self.permissions

    @cached_property
    def inbox_count(self) -> int:
        """How many decisions and alerts wait for the person; 0 for whom the inbox is empty by role."""
        return count_waiting(self.reader) if self.sees_every_team else 0

    @property
    def inbox_badge(self) -> str:
        """The same as the badge shows it."""
        return bounded(self.inbox_count)

    @cached_property
    def only_looks(self) -> bool:
        """Whether the person sees every team and may change nothing, as an auditor. The estate page is their home."""
        return self.sees_every_team and not self.teams and not _ACTS & self.permissions

    @property
    def shows_demo_data(self) -> bool:
        """Whether people, teams and certificates of this portal are invented."""
        return bool(settings.PKI_DEMO_DATA)

    @cached_property
    def machinery_alert(self) -> str:
        """What stands still, where something does and it concerns the person."""
        if not self.sees_every_team or Present.ALERTS not in self.reader.present:
            return ""
        broken = open_alerts().filter(kind__in=KINDS).values_list("message", flat=True)
        return broken.first() or ""

    @cached_property
    def links(self) -> list[Link]:
        """The main navigation."""
        if not self._is_signed_in:
            return []
        home = reverse("home")
        found = [] if self.only_looks else [Link("Home", home, self._request.path == home)]
        if self.sees_every_team:
            found.append(self._to("inbox", "Inbox", count=self.inbox_count))
            found.append(self._to("estate", "Estate"))
        # In use: what is renewed or over would stand first, and its address is one click away.
        found += [self._to("certificates", "Certificates", query=f"state={StateGroup.ACTIVE}"), self._to("requests", "Requests")]
        if self.sees_every_team:
            found += [
                self._to("policy", "Policy"),
                self._to("cas", "CAs"),
                self._to("audit", "Audit"),
            ]
        else:
            found.append(self._to_teams())
        return found

    @cached_property
    def more_links(self) -> list[Link]:
        """What does not fit beside the search field, for those who have most links: what they need least often."""
        if not self.sees_every_team:
            return []
        return [self._to("reports", "Reports"), self._to("register", "Register"), self._to_teams()]

    @property
    def more_is_here(self) -> bool:
        """Whether the page shown is behind one of them."""
        return any(link.here for link in self.more_links)

    @cached_property
    def own_links(self) -> list[Link]:
        """The menu of the person: what belongs to the account, and to the roles that keep the portal."""
        if not self._is_signed_in:
            return []
        found = [self._to("mails", "Mails"), self._to("tokens", "API tokens"), self._to("bulk", "Bulk orders")]
        if self.teams and not self.sees_every_team:
            found += [self._to("estate", "Estate"), self._to("cas", "CAs")]
        if not self.sees_every_team:
            found.append(self._to("audit", "Audit log"))
        if self.sees_every_team:
            found += [self._to("alerts", "Alerts"), self._to("machinery", "Machinery")]
        if self.sees_every_team or self._user.is_staff:  # the rule of `admin.site`, without reading rights again
            found.append(Link("Administration", reverse("admin:index"), here=False))
        return found

    @property
    def _is_signed_in(self) -> bool:
        return self._user is not None and self._user.is_authenticated

    def _to_teams(self) -> Link:
        url, people = reverse("teams"), reverse("people")
        label = "Teams" if self.sees_every_team or len(self.teams) != 1 else "Team"
        return Link(label, url, self._request.path.startswith((url, people)))

    def _to(self, name: str, label: str, *, query: str = "", count: int = 0) -> Link:
        url = reverse(name)
        return Link(label, f"{url}?{query}" if query else url, self._request.path.startswith(url), count)


def navigation(request: HttpRequest) -> dict[str, Navigation]:
    """Django's context processor of every page."""
    return {"navigation": navigation_of(request)}


def navigation_of(request: HttpRequest) -> Navigation:
    """Return the navigation of the page, one for view and frame: each reads the same facts once."""
    kept = getattr(request, "portal_navigation", None)
    if kept is None:
        kept = Navigation(request)
        request.portal_navigation = kept  # type: ignore[attr-defined] # of this request alone
    return kept
