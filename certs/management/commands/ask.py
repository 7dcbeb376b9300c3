"""`manage.py ask`: all four workflows in words. Shows the plan, and does it with --yes."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import CommandParser

from certs.access.permissions import Authority
from certs.lifecycle import certificate_of, describe_words, key_option_of
from certs.management.order_watching import issue_in_order
from certs.management.portal_command import PortalCommand, begin_working
from certs.management.waiting import wait_for_ca
from certs.models import Team
from certs.renewal.renew import Renewal, renew, renewal_result
from certs.requests.plan import describe, plan_words
from certs.requests.representation import answer, wait
from certs.requests.submit import Requester, submit_many
from certs.revocation.revoke import revocation_result, revoke
from certs.spec import IssuePlan, Plan, RenewPlan, RevokePlan


class Command(PortalCommand):
    help = 'Ask in words: ask "Renew cert-5678", ask "Revoke certificate cert-5678 - reason: key compromise" --yes'

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        self.add_requester(parser)
        parser.add_argument("text", nargs="+", help="what is wanted, in words")
        parser.add_argument("--yes", action="store_true", help="do it; without this the plan is shown and nothing happens")
        self.add_wait(parser, default=120)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        text, authority = " ".join(options["text"]), self.authority(options)
        requester = self._speaker(authority, options)
        plan = plan_words(text, requester=requester)
        if isinstance(plan, IssuePlan) and options["team"] is None:
            requester = self.requester(options)
            plan = plan_words(text, requester=requester)
        if not options["yes"]:
            return self._described(plan, requester, authority) | {"done": False, "next_step": "The same with --yes does it."}
        begin_working()
        if isinstance(plan, IssuePlan) and len(plan.specs) >= settings.PKI_ORDER_FROM:
            result = issue_in_order(plan, requester=requester, title=text, wait=options["wait"], tell=self.progress(options))
            self.end_progress(options)
            return result
        return self._done(plan, requester, authority, options["wait"])

    def _speaker(self, authority: Authority, options: dict[str, Any]) -> Requester:
        """Only issuing needs a team: an officer who is in none may still revoke. Then any team's defaults serve the grammar."""
        team = Team.objects.order_by("pk").first()
        if options["team"] is not None or team is None:
            return self.requester(options)
        return Requester(authority.actor, team, "command", user=authority.user)

    def _described(self, plan: Plan, requester: Requester, authority: Authority) -> dict[str, Any]:
        if isinstance(plan, IssuePlan):
            return {"action": "issue"} | describe(plan, requester=requester)
        return {"success": True} | describe_words(plan, authority=authority)

    def _done(self, plan: Plan, requester: Requester, authority: Authority, seconds: float) -> dict[str, Any]:
        match plan:
            case IssuePlan():
                return self._issued(plan, requester, seconds)
            case RenewPlan():
                certificate, notes = certificate_of(plan, authority=authority)
                made = renew(certificate, authority=authority, channel="command", key_option=key_option_of(plan))
                result = renewal_result(Renewal(wait(made.request, seconds=seconds), made.plan, already=made.already))
                return result | {"notes": [*notes, *result["notes"]]}
            case RevokePlan():
                certificate, notes = certificate_of(plan, authority=authority)
                done = revoke(certificate, reason=plan.reason, authority=authority, destroy_key=plan.destroy_key)
                wait_for_ca([done.certificate.pk, *(one.pk for one in done.also)], seconds=min(seconds, 30))
                return revocation_result(done) | {"notes": list(notes)}

    def _issued(self, plan: IssuePlan, requester: Requester, seconds: float) -> dict[str, Any]:
        answers = [answer(wait(row, seconds=seconds)) for row in submit_many(plan.specs, requester=requester)]
        if len(answers) == 1:
            return answers[0] | {"notes": list(plan.notes)}
        return {"success": all(one["success"] for one in answers), "certificates": answers, "notes": list(plan.notes)}
