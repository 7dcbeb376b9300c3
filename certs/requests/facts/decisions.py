"""Repeat a recorded decision of the policy, from the facts that are stored with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from audit.events import EventType
from audit.models import AuditEvent
from certs.errors import NotFound
from certs.models import PolicyEvaluation
from policy.engine import Decision, evaluate
from policy.errors import PolicyCorrupt
from policy.models import PolicyVersion, PolicyWaiver
from policy.recorded import case_from, facts_digest
from policy.rules import RuleSet
from policy.waivers.waiver import Waiver, waiver_id


@dataclass(frozen=True, slots=True)
class Rerun:
    """A repeated decision. `differences`: what is not as recorded; empty when all of it is.

    `not_compared`: why it could not be made again although nothing is wrong.
    """

    evaluation: PolicyEvaluation
    decision: Decision | None
    differences: tuple[str, ...] = ()
    not_compared: str = ""

    @property
    def same(self) -> bool | None:
        """Return whether all of it is as recorded; None where nothing could be compared."""
        return None if self.not_compared else not self.differences


def evaluations_of(name: str) -> list[PolicyEvaluation]:
    """Return the evaluation of that number, or those of the request of that public id.

    Raises NotFound.
    """
    rows = PolicyEvaluation.objects.select_related("request").order_by("pk")
    is_number = name.isdecimal() and len(name) < 19
    found = list(rows.filter(pk=int(name)) if is_number else rows.filter(request__public_id=name))
    if not found:
        raise NotFound("There is no such decision. Give its number or the id of a request.")
    return found


def waivers_used_by(request_id: int) -> list[PolicyWaiver]:
    """Return the waivers without which a request would have been judged more strictly."""
    return list(PolicyWaiver.objects.filter(uses__request=request_id).distinct().order_by("pk"))


def run_again(evaluation: PolicyEvaluation) -> Rerun:
    """Decide again under the version that decided, with the recorded facts and waivers.

    Reads the version and the waivers; writes nothing. A record that was altered is a difference.
    """
    facts = evaluation.facts
    if facts is None and not evaluation.facts_digest and not _hash_is_gone(evaluation):
        return Rerun(evaluation, None, not_compared="no facts are stored with this decision, which an earlier release made")
    if facts is None:
        return Rerun(evaluation, None, ("the stored facts are gone, although their hash was recorded",))
    if facts_digest(facts) != evaluation.facts_digest:
        return Rerun(evaluation, None, ("the stored facts do not match their hash",))
    versions = PolicyVersion.objects.filter(policy__name=settings.PKI_DEFAULT_POLICY)
    version = versions.filter(version=evaluation.policy_version).first()
    if version is None:
        return Rerun(evaluation, None, (f"there is no policy version {evaluation.policy_version}",))
    try:
        ruleset = version.read_rules()
    except PolicyCorrupt as exc:
        return Rerun(evaluation, None, (str(exc),))
    if ruleset.digest != evaluation.rules_digest:
        return Rerun(evaluation, None, (f"the rules of {version.version} do not match the recorded hash",))
    decision = decide_again(ruleset, facts)
    return Rerun(evaluation, decision, tuple(_differences(evaluation, decision)))


def _hash_is_gone(evaluation: PolicyEvaluation) -> bool:
    """Return whether the audit log has hashes of facts for decisions on this request that the rows have no more."""
    request = evaluation.request
    logged = AuditEvent.objects.filter(event=EventType.POLICY_EVALUATED, subject=request.subject, data__has_key="facts_sha256").count()
    return logged > PolicyEvaluation.objects.filter(request=request).exclude(facts_digest="").count()


def decide_again(ruleset: RuleSet, facts: dict[str, object]) -> Decision:
    """Return what these rules say to recorded facts, with the waivers that covered the request."""
    case, references = case_from(facts)
    return evaluate(ruleset, case.facts, case.requester, on=case.on, waivers=waivers_named(references))


def waivers_named(references: Iterable[str]) -> list[Waiver]:
    """Return the waivers of these references. What a waiver says never changes."""
    ids = [waiver_id(one) for one in references]
    return [row.waiver for row in PolicyWaiver.objects.filter(pk__in=ids).order_by("pk")] if ids else []


def _differences(evaluation: PolicyEvaluation, decision: Decision) -> Iterable[str]:
    made = decision.to_dict()
    for name in ("outcome", "checks", "suggestion"):
        stored = getattr(evaluation, name)
        if made[name] != stored:
            yield f"{name}: recorded {stored!r}, now {made[name]!r}"
