"""Audit events in plain words: one table for the audit pages, the history of a certificate, and the page of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from audit.events import EventType as E
from audit.models import AuditEvent

Data = Mapping[str, Any]
Sentence = Callable[[str, Data], str]

_DECISIONS = {"allow": "allowed it", "deny": "refused it", "needs_approval": "asked for an approval"}
_FIELDS = {"critical_function": "critical function", "default_domain": "default domain", "is_active": "active account"}
_NO_FIELDS = {"name", "relation", "added", "removed", "state_sha256", "as_found"}
# A sentence names so many; the event below it has them all.
_NAMED = 3
_LONGEST = 300


def words_of(event: AuditEvent) -> str:
    """Return what happened as a sentence; for a type of another release the type itself."""
    sentence = SENTENCES.get(event.event)
    who = who_of(event.actor_kind, event.actor_name)
    return sentence(who, event.data) if sentence else f"{who}: {event.event}."


def who_of(kind: str, name: str) -> str:
    """Return the actor of an event as people name it, for the beginning of a sentence."""
    match kind:
        case "token":
            person, _, prefix = name.partition(":")
            return f"The API token {prefix} of {person}" if prefix else f"The API token {name}"
        case "command":
            return f"The command {name}"
        case "system":
            return f"The portal ({name})"
    return name


def _text(value: object, otherwise: str = "") -> str:
    """Return a value of an event in a sentence: bounded, for what others wrote may be long."""
    text = otherwise if value in (None, "", []) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _listed(values: object) -> str:
    """Return some names of a list, and the number of the others."""
    names = [str(one) for one in values] if isinstance(values, list | tuple) else [str(values)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return _text(", ".join(names[:_NAMED]) + more)


def _because(data: Data, name: str = "reason") -> str:
    return f": {_text(data[name])}" if data.get(name) else "."


def _full_stop(text: str) -> str:
    return text if text.endswith((".", "…", "!", "?")) else f"{text}."


def _evaluated(_who: str, data: Data) -> str:
    outcome = str(data.get("outcome"))
    waivers = data.get("waivers")
    under = f", under waiver {', '.join(map(str, waivers))}" if isinstance(waivers, list) and waivers else ""
    return f"Policy {_text(data.get('policy_version'))} {_DECISIONS.get(outcome, outcome)}{under}."


def _key(_who: str, data: Data) -> str:
    if "key" not in data:
        return "The requester's own key was recorded: the portal has only its public half."
    made = "kept the key" if data.get("reused") else "made the key"
    return f"The portal {made} {_text(data['key'])} in {_text(data.get('backend'))}."


def _csr(_who: str, data: Data) -> str:
    return "The CSR of the requester was checked." if data.get("brought") else "The portal made the CSR."


def _approved(who: str, data: Data) -> str:
    alone = " The same person had requested it (one officer alone)." if data.get("single_officer") else ""
    return f"{who} approved the request{_confirmed(data)}{_full_stop(_because(data, 'comment'))}{alone}"


def _endorsed(who: str, data: Data) -> str:
    needed, given = data.get("needed"), data.get("approvals")
    others = f"{given} of {needed}" if isinstance(needed, int) and isinstance(given, int) else "and others must too"
    return f"{who} approved the request{_confirmed(data)}, {others}{_full_stop(_because(data, 'comment'))}"


def _confirmed(data: Data) -> str:
    """Return with which second factor an approval was confirmed."""
    factor = str(data.get("confirmed_by") or "")
    return f" and confirmed it with {_SHOWN.get(factor, factor)}" if factor else ""


def _rejected(who: str, data: Data) -> str:
    if "approver" in data:
        return f"{who} rejected the request{_full_stop(_because(data, 'comment'))}"
    return f"The request was refused{_full_stop(_because(data))}"


def _cancelled(who: str, data: Data) -> str:
    cause = data.get("because_of")
    return f"{who} cancelled the request{f' because of {_text(cause)}' if cause else ''}."


def _revocation(who: str, data: Data) -> str:
    before = f" Before it was revoked as {_text(data['earlier_reason'])}." if "earlier_reason" in data else ""
    return f"{who} revoked the certificate as {_text(data.get('reason'))}.{before}"


def _revoked(_who: str, data: Data) -> str:
    if data.get("quarantined"):
        return f"A quarantined certificate of {_text(data.get('issuer'))} was settled: {_text(data.get('note'))}."
    return f"{_text(data.get('issuer'))} confirmed the revocation as {_text(data.get('reason'))}."


def _planned(who: str, data: Data) -> str:
    moment = "once its replacement is issued" if data.get("when_issued") else f"by {_text(data.get('deadline'))[:16]} UTC"
    return f"{who} planned the revocation as {_text(data.get('reason'))}, {moment}; {_text(data.get('replacement'))} replaces it."


def _fields_of(data: Data) -> str:
    names = [name for name in data if not name.endswith("_before") and name not in _NO_FIELDS]
    shown = [_FIELDS.get(name, name.replace("_", " ")) for name in names]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1] if shown else "")))


def _described(who: str, data: Data) -> str:
    return f"{who} changed {_fields_of(data) or 'the description'}."


def _switched(who: str, data: Data) -> str:
    off = data.get("renewal") == "off"
    return f"{who} switched the renewal {'off' if off else 'on'}{_full_stop(_because(data) if off else '.')}"


def _downloaded(who: str, data: Data) -> str:
    whole = " with the other certificates of its order" if "certificates" in data else ""
    return f"{who} downloaded {_text(data.get('form'))}{whole}."


def _place(data: Data) -> str:
    return f"{_text(data.get('host'))}:{data.get('port')}"


def _observed(who: str, data: Data) -> str:
    return f"{who} looked at {_place(data)}: {_text(data.get('outcome')).replace('_', ' ')}."


def _signed_in(who: str, data: Data) -> str:
    address = f" from {_text(data['address'])}" if data.get("address") else ""
    shown = data.get("methods")
    names = [_SHOWN.get(str(one), str(one)) for one in shown] if isinstance(shown, list) else []
    methods = f" with {' and '.join(names)}" if names else ""
    return f"{who} signed in{address}{methods}."


_SHOWN = {
    "password": "a password",
    "totp": "a code",
    "code": "a code",
    "passkey": "a passkey",
    "webauthn": "a passkey",
    "recovery_codes": "a recovery code",
    "oidc": "the identity provider",
}


def _sign_in_failed(who: str, data: Data) -> str:
    tries = data.get("tries") or 1
    from_where = f" from {_text(data['address'])}" if data.get("address") else ""
    return f"{tries} failed sign-in{'' if tries == 1 else 's'} as {who}{from_where}."


def _issuer_state(who: str, data: Data) -> str:
    to = _text(data.get("to")).replace("_", " ")
    why = f" as {_text(data['reason'])}" if data.get("reason") else ""
    return f"{who} set the state of the CA from {_text(data.get('from')).replace('_', ' ')} to {to}{why}."


def _ca_created(who: str, data: Data) -> str:
    if data.get("root_sha256"):
        return f"{who} added the CA {_text(data.get('name'))}, and pinned the root {_text(data['root_sha256'])[:16]}…"
    root = "root " if data.get("root") else ""
    return f"{who} made the {root}CA {_text(data.get('name'))} with the key {_text(data.get('key'))} in {_text(data.get('backend'))}."


def _secret(who: str, data: Data) -> str:
    return f"{who} sent a secret ({_text(data.get('kind')).replace('_', ' ')}), which was refused and not kept."


def _bulk_ended(_who: str, data: Data) -> str:
    return f"The order ended: {data.get('issued', 0)} of {data.get('lines', 0)} certificates issued."


def _exported(who: str, data: Data) -> str:
    searched = f", found by {_text(data['searched'])}" if data.get("searched") else ""
    return f"{who} exported {_text(data.get('what'), 'events')} of the audit log{searched}."


def _made(thing: str) -> Sentence:
    return lambda who, data: f"{who} made the {thing} {_text(data.get('name') or data.get('username') or '', '(unnamed)')}."


def _changed(thing: str) -> Sentence:
    def sentence(who: str, data: Data) -> str:
        name = _text(data.get("name") or data.get("username") or "")
        of = f"the {thing} {name}".rstrip()
        if data.get("as_found"):
            return f"{who} recorded {of} as found at the upgrade."
        if data.get("added"):
            return f"{who} added {_listed(data['added'])} to the {_text(data.get('relation')).replace('_', ' ')} of {of}."
        if data.get("removed"):
            return f"{who} removed {_listed(data['removed'])} from the {_text(data.get('relation')).replace('_', ' ')} of {of}."
        return f"{who} changed {of}: {_changes_of(data) or 'what is not shown'}."

    return sentence


def _changes_of(data: Data) -> str:
    """Return the changed fields with the old and the new value; what must not be shown was replaced."""
    replaced = data.get("replaced")
    new = [f"{_FIELDS.get(str(name), str(name))} replaced" for name in replaced] if isinstance(replaced, list) else []
    names = [name for name in data if name not in _NO_FIELDS | {"replaced"} and not name.endswith("_before")]
    shown = [*new, *(_change(name, data) for name in names)]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return _text(", ".join(shown[:_NAMED]) + more)


def _change(name: str, data: Data) -> str:
    label, value = _FIELDS.get(name, name.replace("_", " ")), data[name]
    if f"{name}_before" in data:
        value = [data[f"{name}_before"], value]
    both = isinstance(value, list) and len(value) == 2
    return f"{label} from {_value(value[0])} to {_value(value[1])}" if both else label


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _listed(value) if isinstance(value, list | tuple) and value else _text(value, "nothing")


def _deleted(thing: str) -> Sentence:
    return lambda who, data: f"{who} deleted the {thing} {_text(data.get('name') or data.get('username') or '', '(unnamed)')}."


def _of_power(made: E, changed: E, deleted: E, thing: str) -> dict[str, Sentence]:
    return {made: _made(thing), changed: _changed(thing), deleted: _deleted(thing)}


SENTENCES: dict[str, Sentence] = {
    # Requests
    E.REQUEST_SUBMITTED: lambda who, data: f"{who} requested the certificate for team {_text(data.get('team'))}.",
    E.POLICY_EVALUATED: _evaluated,
    E.REQUEST_APPROVED: _approved,
    E.REQUEST_REJECTED: _rejected,
    E.REQUEST_CANCELLED: _cancelled,
    E.REQUEST_FAILED: lambda _who, data: f"The request failed{_full_stop(_because(data))}",
    E.REQUEST_HELD: lambda _who, data: f"The request waited: {_full_stop(_text(data.get('reason'), 'the CA or the key backend was away'))}",
    E.REQUEST_RESUMED: lambda who, _data: f"{who} let the request go on.",
    E.REQUEST_ENDORSED: _endorsed,
    E.REQUEST_LAPSED: lambda _who, data: f"The request lapsed: no approver decided in time{_full_stop(_because(data))}",
    E.REQUEST_REMINDED: lambda who, _data: f"{who} reminded the approvers.",
    E.REQUEST_QUESTIONED: lambda who, data: f"{who} asked the requester{_full_stop(_because(data, 'question'))}",
    E.REQUEST_ANSWERED: lambda who, data: f"{who} answered{_full_stop(_because(data, 'answer'))}",
    E.DEPUTY_NAMED: lambda who, data: f"{who} named {_text(data.get('deputy'), 'a deputy')} to approve in the meantime.",
    E.DEPUTY_ENDED: lambda who, data: f"{who} ended the deputizing of {_text(data.get('deputy'), 'a deputy')}.",
    # Acts on many certificates
    E.ACT_SUBMITTED: lambda who, data: f"{who} submitted an act ({_text(data.get('kind'))}) on {data.get('lines', 0)} certificates.",
    E.ACT_PAUSED: lambda who, _data: f"{who} paused the act.",
    E.ACT_RESUMED: lambda who, _data: f"{who} let the act go on.",
    E.ACT_CANCELLED: lambda who, _data: f"{who} cancelled the act.",
    E.ACT_RETRIED: lambda who, _data: f"{who} tried the failed lines of the act again.",
    E.ACT_COMPLETED: lambda _who, data: (
        f"The act ended: {data.get('done', 0)} done, {data.get('refused', 0)} refused, {data.get('failed', 0)} failed."
    ),
    # Saved views of the inventory
    E.VIEW_SHARED: lambda who, data: f"{who} shared the view {_text(data.get('name'))} with the team {_text(data.get('team'))}.",
    E.VIEW_WITHDRAWN: lambda who, data: f"{who} withdrew the view {_text(data.get('name'))} from the team {_text(data.get('team'))}.",
    # Bulk orders
    E.BULK_SUBMITTED: lambda who, data: f"{who} submitted the order: {data.get('lines')} certificates.",
    E.BULK_PAUSED: lambda who, _data: f"{who} paused the order.",
    E.BULK_RESUMED: lambda who, _data: f"{who} let the order go on.",
    E.BULK_CANCELLED: lambda who, _data: f"{who} cancelled the order.",
    E.BULK_RETRIED: lambda who, data: f"{who} tried {data.get('lines')} failed lines of the order again.",
    E.BULK_COMPLETED: _bulk_ended,
    # Keys
    E.KEY_CLAIMED: lambda who, _data: f"{who} took a key for a new certificate.",
    E.KEY_GENERATED: _key,
    E.KEY_ADOPTED: lambda who, data: f"{who} took over the key {_text(data.get('key'))}, which an earlier attempt had made.",
    E.KEY_RECORDED: _key,
    E.KEY_ROTATED: lambda _who, data: f"The portal made version {data.get('version')} of the key {_text(data.get('key'))}.",
    E.KEY_DESTRUCTION_REQUESTED: lambda who, data: (
        f"{who} ordered the destruction of the key {_text(data.get('key'))}{_full_stop(_because(data, 'because_of'))}"
    ),
    E.KEY_DESTROYED: lambda _who, data: f"The key {_text(data.get('key'))} was destroyed{_full_stop(_because(data))}",
    E.KEY_COMPROMISED: lambda who, data: f"{who} blocked the public key permanently{_full_stop(_because(data))}",
    E.KEY_COMPROMISE_CLAIMED: lambda who, data: (
        f"{who} reported that the key of {_text(data.get('cert_id'), 'a certificate')} is in other hands."
    ),
    E.KEY_UNBLOCKED: lambda who, data: f"{who} took the block of the public key back{_full_stop(_because(data))}",
    # CSR and CA
    E.CSR_CREATED: _csr,
    E.CSR_REFUSED: lambda who, data: f"A CSR that {who} sent was refused: {_text(data.get('class'), 'not readable').replace('_', ' ')}.",
    E.CA_SUBMITTED: lambda _who, data: f"{_text(data.get('issuer'), 'The CA')} was asked to sign the certificate.",
    E.CA_UNAVAILABLE: lambda _who, data: f"{_text(data.get('issuer'), 'The CA')} did not answer.",
    E.CA_REFUSED: lambda _who, data: f"{_text(data.get('issuer'), 'The CA')} refused to sign{_full_stop(_because(data))}",
    E.CA_QUARANTINED: lambda _who, data: (
        f"{_text(data.get('issuer'), 'The CA')} signed something else than was ordered; it is in quarantine: "
        f"{_full_stop(_listed(data.get('reasons', '')))}"
    ),
    # Certificates
    E.CERTIFICATE_ISSUED: lambda _who, data: f"{_text(data.get('issuer'))} signed the certificate, and the portal verified it.",
    E.CERTIFICATE_RECORDED: lambda _who, _data: "The certificate was added to the inventory.",
    E.CERTIFICATE_RENEWED: lambda _who, data: f"{_text(data.get('renewed_by'))} took its place.",
    E.CERTIFICATE_RENEWAL_REFUSED: lambda _who, data: f"The renewal was refused{_full_stop(_because(data))}",
    E.CERTIFICATE_REVOCATION_REQUESTED: _revocation,
    E.CERTIFICATE_REVOCATION_PLANNED: _planned,
    E.CERTIFICATE_REVOCATION_WITHDRAWN: lambda who, _data: f"{who} withdrew the planned revocation.",
    E.CERTIFICATE_REVOKED: _revoked,
    E.CERTIFICATE_RELEASE_REQUESTED: lambda who, _data: f"{who} asked for the release from hold.",
    E.CERTIFICATE_RELEASED: lambda _who, data: f"{_text(data.get('issuer'))} released the certificate from hold.",
    E.CERTIFICATE_DESCRIBED: _described,
    E.CERTIFICATE_REVIEWED: lambda who, data: f"{who} reviewed the certificate on {_text(data.get('last_review'))}.",
    E.CERTIFICATE_RENEWAL_SWITCHED: _switched,
    E.CERTIFICATE_DOWNLOADED: _downloaded,
    E.CERTIFICATE_CHECK_REQUESTED: lambda who, data: f"{who} had {_place(data)} looked at.",
    E.CERTIFICATE_OBSERVED: _observed,
    E.CERTIFICATE_PLACE_FORGOTTEN: lambda who, data: f"{who} removed {_place(data)} from the places that are looked at.",
    E.CERTIFICATE_FOUND: lambda _who, data: (
        f"The CA has a certificate that the portal does not know, serial number {_text(data.get('serial_number'))}."
    ),
    # What was left over
    E.INTENT_ABANDONED: lambda _who, data: (
        f"The serial number {_text(data.get('serial_number'))} was given up: nothing came back within an hour."
    ),
    E.RESULT_UNCLAIMED: lambda _who, data: f"A late result ({_text(data.get('kind'))}) of attempt {data.get('attempt')} was kept aside.",
    E.RESULT_ADOPTED: lambda _who, data: (
        f"A late result ({_text(data.get('kind'))}) was settled: {_full_stop(_text(data.get('settlement')))}"
    ),
    # CAs and their status information
    E.ISSUER_CREATED: _ca_created,
    E.ISSUER_CHANGED: _changed("CA"),
    E.ISSUER_DELETED: _deleted("CA"),
    E.ISSUER_STATE_CHANGED: _issuer_state,
    E.ISSUER_SUCCEEDED: lambda who, data: f"{who} replaced the CA by {_text(data.get('successor'))}.",
    E.ISSUER_REISSUE_PLANNED: lambda who, data: (
        f"{who} planned to re-issue the certificates of the CA from {_text(data.get('target'))}: {_full_stop(_text(data.get('reason')))}"
    ),
    E.ISSUER_REISSUE_STARTED: lambda who, data: (
        f"{who} started to re-issue {data.get('certificates')} certificates from {_text(data.get('target'))}."
    ),
    E.ISSUER_REISSUE_PAUSED: lambda who, _data: f"{who} paused the re-issue.",
    E.ISSUER_REISSUE_RESUMED: lambda who, _data: f"{who} resumed the re-issue.",
    E.ISSUER_REISSUE_CANCELLED: lambda who, _data: f"{who} gave the re-issue up.",
    E.ISSUER_REISSUE_DONE: lambda _who, data: (
        f"The re-issue is done: {data.get('issued')} certificates were issued, {data.get('need_person')} need a person."
    ),
    E.ISSUER_ADDITION_BEGUN: lambda who, data: f"{who} began to add the CA {_text(data.get('name'))} ({_text(data.get('kind'))}).",
    E.ISSUER_ADDITION_ROOT_COMPARED: lambda who, data: (
        f"{who} typed the fingerprint of the root: {'it is the same' if data.get('same') else 'it is another'}."
    ),
    E.ISSUER_ADDITION_TESTED: lambda _who, data: (
        "The test certificate was issued, revoked and found again."
        if data.get("passed")
        else f"The test of the CA failed: {_full_stop(_text(data.get('problem')))}"
    ),
    E.ISSUER_ADDITION_GIVEN_UP: lambda who, _data: f"{who} gave up adding the CA.",
    E.CA_RECONCILED: lambda who, data: (
        f"{who} settled serial number {_text(data.get('serial_number'))}: {_full_stop(_text(data.get('settlement')))}"
    ),
    E.STATUS_RECONCILED: lambda _who, data: (
        f"CRL and OCSP were compared with the inventory: {data.get('compared')} certificates, {data.get('differences')} differences."
    ),
    E.CRL_SHARD_OPENED: lambda _who, data: f"Part {data.get('shard')} of the CRL was begun.",
    E.CRL_PUBLISHED: lambda _who, data: f"CRL number {data.get('number')} was published with {data.get('entries')} entries.",
    E.OCSP_RESPONDER_MADE: lambda _who, data: f"An OCSP responder was made; it ends on {_text(data.get('not_after'))[:10]}.",
    # Power
    **_of_power(E.USER_CREATED, E.USER_CHANGED, E.USER_DELETED, "account"),
    **_of_power(E.PERSON_CREATED, E.PERSON_CHANGED, E.PERSON_DELETED, "person"),
    **_of_power(E.GROUP_CREATED, E.GROUP_CHANGED, E.GROUP_DELETED, "group"),
    **_of_power(E.TEAM_CREATED, E.TEAM_CHANGED, E.TEAM_DELETED, "team"),
    **_of_power(E.DOMAIN_CREATED, E.DOMAIN_CHANGED, E.DOMAIN_DELETED, "domain"),
    **_of_power(E.PROFILE_CREATED, E.PROFILE_CHANGED, E.PROFILE_DELETED, "profile"),
    **_of_power(E.POLICY_CREATED, E.POLICY_CHANGED, E.POLICY_DELETED, "policy"),
    **_of_power(E.SCHEDULE_CREATED, E.SCHEDULE_CHANGED, E.SCHEDULE_DELETED, "schedule"),
    **_of_power(E.WEBHOOK_CREATED, E.WEBHOOK_CHANGED, E.WEBHOOK_DELETED, "webhook"),
    **_of_power(E.SECOND_FACTOR_CREATED, E.SECOND_FACTOR_CHANGED, E.SECOND_FACTOR_DELETED, "second factor"),
    **_of_power(E.IDENTITY_CREATED, E.IDENTITY_CHANGED, E.IDENTITY_DELETED, "sign-in identity"),
    E.POLICY_DRAFTED: lambda who, data: f"{who} drafted policy version {_text(data.get('version'))}.",
    E.POLICY_PUBLISHED: lambda who, data: (
        f"{who} published policy version {_text(data.get('version'))}, in force from {_text(data.get('effective_from'))[:16]} UTC."
    ),
    E.POLICY_DRAFT_CHANGED: lambda who, data: f"{who} changed the draft of policy version {_text(data.get('version'))}.",
    E.POLICY_DRAFT_DELETED: lambda who, data: f"{who} deleted the draft of policy version {_text(data.get('version'))}.",
    E.POLICY_WITHDRAWN: lambda who, data: (
        f"{who} withdrew policy version {_text(data.get('version'))} before it came into force{_full_stop(_because(data))}"
    ),
    E.WAIVER_REQUESTED: lambda who, data: f"{who} requested a waiver of the rule {_text(data.get('rule'))}{_full_stop(_because(data))}",
    E.WAIVER_APPROVED: lambda who, _data: f"{who} approved the waiver.",
    E.WAIVER_REJECTED: lambda who, data: f"{who} rejected the waiver{_full_stop(_because(data))}",
    E.WAIVER_ENDED: lambda who, data: f"{who} ended the waiver{_full_stop(_because(data))}",
    E.DOMAIN_REQUESTED: lambda who, data: f"{who} asked for the domain {_text(data.get('domain') or data.get('name'))}.",
    E.DOMAIN_GRANTED: lambda who, data: f"{who} gave the domain {_text(data.get('domain') or data.get('name'))} as asked.",
    E.DOMAIN_REFUSED: lambda who, data: (
        f"{who} refused the domain {_text(data.get('domain') or data.get('name'))}{_full_stop(_because(data))}"
    ),
    E.DOMAIN_WITHDRAWN: lambda who, data: f"{who} withdrew the question for the domain {_text(data.get('domain') or data.get('name'))}.",
    **_of_power(
        E.SECOND_FACTOR_GRACE_CREATED, E.SECOND_FACTOR_GRACE_CHANGED, E.SECOND_FACTOR_GRACE_DELETED, "grace period for a second factor"
    ),
    **_of_power(E.GROUP_MAPPING_CREATED, E.GROUP_MAPPING_CHANGED, E.GROUP_MAPPING_DELETED, "mapping of a directory group"),
    E.LOGIN_RECOVERY_CODE_USED: lambda who, data: f"{who} used a recovery code; {data.get('left')} are left.",
    **_of_power(E.INVITATION_CREATED, E.INVITATION_CHANGED, E.INVITATION_DELETED, "invitation"),
    E.USER_SESSIONS_ENDED: lambda who, data: f"{who} ended the sessions of {_text(data.get('user'), 'the account')}.",
    E.USER_ACCESS_REMOVED: lambda who, data: (
        f"{who} removed the access of {_text(data.get('user'), 'the account')}: "
        f"{_full_stop(_listed(data.get('ended') or 'nothing was left'))}"
    ),
    E.JOIN_REQUESTED: lambda who, data: f"{who} asked to join team {_text(data.get('team'))}.",
    E.JOIN_DECIDED: lambda who, data: (
        f"{who} decided whether {_text(data.get('person'))} joins team {_text(data.get('team'))}: {_full_stop(_text(data.get('outcome')))}"
    ),
    E.TOKEN_CREATED: lambda who, data: f"{who} made the API token {_text(data.get('name'))} for team {_text(data.get('team'))}.",
    E.TOKEN_CHANGED: _changed("API token"),
    E.TOKEN_REVOKED: lambda who, data: f"{who} ended the API token {_text(data.get('prefix'))}{_full_stop(_because(data, 'because'))}",
    E.LOGIN_SUCCEEDED: _signed_in,
    E.LOGIN_FAILED: _sign_in_failed,
    E.LOGIN_LOCKED: lambda who, _data: f"The sign-in of {who} was locked after too many wrong tries.",
    E.SECRET_REFUSED: _secret,
    # The portal itself
    E.ALERT_CLOSED: lambda who, data: f"{who} closed the alert {_text(data.get('kind')).replace('_', ' ')}.",
    E.BOOTSTRAP_DONE: lambda who, data: f"{who} set the portal up: {_full_stop(_listed(data.get('made') or 'nothing was missing'))}",
    E.AUDIT_VERIFIED: lambda _who, data: f"The audit log was verified: {data.get('events')} events, none changed.",
    E.AUDIT_EPOCH_STARTED: lambda who, data: (
        f"{who} began a new tree after epoch {data.get('old_epoch')} with {data.get('old_size')} events."
    ),
    E.AUDIT_EXPORTED: _exported,
    E.AUDIT_PROOF_DOWNLOADED: lambda who, data: f"{who} downloaded the proof for {_text(data.get('of'))}.",
}
