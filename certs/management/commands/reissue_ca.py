"""`manage.py reissue_ca`: have every valid certificate of a CA renewed by another, nearest end first. Also pauses, resumes, cancels."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError, CommandParser
from django.db.models import Q

from certs.authorities.forecast import forecast_of, forecast_reissue
from certs.authorities.reissue import (
    cancel_reissue,
    check_may_manage,
    count_progress,
    pause_reissue,
    plan_reissue,
    resume_reissue,
    start_reissue,
    target_named,
)
from certs.management.portal_command import PortalCommand
from certs.models import Issuer, Reissue

_VERBS = {"pause": pause_reissue, "resume": resume_reissue, "cancel": cancel_reissue}


class Command(PortalCommand):
    help = (
        "Re-issue the certificates of a CA that is lost or given up from another CA. Without --yes only the forecast "
        "is printed: what would be renewed, refused, and how long it takes. The renewal schedule does the work, "
        "within the budget of the CA."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--as", dest="as_user", metavar="USER", help="act for this user (default: the command itself)")
        parser.add_argument("issuer", help="name or slug of the CA whose certificates are replaced")
        parser.add_argument("--to", default="", help="slug or name of the CA that issues instead")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")
        verbs = parser.add_mutually_exclusive_group()
        verbs.add_argument("--dry-run", action="store_true", help="print the forecast and change nothing (the default)")
        verbs.add_argument("--yes", action="store_true", help="start it")
        verbs.add_argument("--status", action="store_true", help="how far the re-issue is that is under way")
        for verb in _VERBS:
            verbs.add_argument(f"--{verb}", action="store_true", help=f"{verb} the re-issue that is under way")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        authority = self.authority(options)
        issuer = _issuer(options["issuer"])
        verb = next((name for name in (*_VERBS, "status") if options[name]), "")
        if verb:
            reissue = _under_way(issuer)
            if verb in _VERBS:
                _VERBS[verb](reissue, authority=authority)
            count_progress(reissue)
            reissue.refresh_from_db()
            return {"success": True, **_answer(reissue)}
        target = _issuer(options["to"]) if options["to"] else None
        if not options["yes"]:
            check_may_manage(authority)
            if target is None:
                raise CommandError("Say which CA issues instead: --to NAME.", returncode=2)
            target = target_named(issuer, target.slug)
            forecast = forecast_of(issuer, target, progress=lambda _checked: None)
            return {"success": True, "dry_run": True, "issuer": issuer.name, "target": target.name, "forecast": forecast}
        reason = options["reason"] or "by command"
        reissue = plan_reissue(issuer, target.slug if target else "", reason=reason, authority=authority)
        forecast_reissue(reissue.pk)
        reissue.refresh_from_db()
        return {"success": True, **_answer(start_reissue(reissue, confirmation=issuer.name, authority=authority))}


def _issuer(name: str) -> Issuer:
    found = Issuer.objects.filter(Q(name=name) | Q(slug=name)).exclude(alias="").first()
    if found is None:
        raise CommandError(f"There is no CA named {name}.", returncode=2)
    return found


def _under_way(issuer: Issuer) -> Reissue:
    found = Reissue.objects.select_related("issuer", "target").filter(issuer=issuer, state__in=Reissue.UNDER_WAY).first()
    if found is None:
        raise CommandError(f"No re-issue of {issuer.name} is under way.", returncode=2)
    return found


def _answer(reissue: Reissue) -> dict[str, Any]:
    return {
        "reissue": reissue.public_id,
        "issuer": reissue.issuer.name,
        "target": reissue.target.name,
        "state": reissue.state,
        "forecast": reissue.forecast,
        "progress": {name: getattr(reissue, name) for name in ("left", "need_person", "begun", "issued", "failed")},
    }
