"""Read request sentences: the only parser of them, an LALR(1) grammar (`sentence.lark`) over tokens. Pure.

`words` cuts a sentence into tokens, the grammar finds its parts, and `meaning` makes a plan of the
parts of an issue request. Plans of renewals and revocations are made here.
"""

# ruff: noqa: SIM905 - lists of words read best as text
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree, UnexpectedInput
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from certs.enums import RevocationReason
from certs.errors import NotUnderstood, ReasonMissing
from certs.language.meaning import LIST_EXAMPLE, Part, issue_plan, key_of, validity_of_parts
from certs.language.reasons import EXAMPLE as REVOKE_EXAMPLE
from certs.language.reasons import OFFERED, certificate_word, names_a_host, reason_words
from certs.language.words import EXAMPLE, Word, issue_words, read_words
from certs.spec import IntakeDefaults, Plan, RenewPlan, RevokePlan, Validity
from keys.spec import KeySpec

RENEW_EXAMPLE = "Renew cert-5678 with a new key"
_SMALL_IN_RENEWAL = frozenset("please kindly the a an its it can could you we i would like to have get".split())
_RENEWAL = {
    "keep": "KEEP",
    "keeping": "KEEP",
    "reuse": "KEEP",
    "reusing": "KEEP",
    "same": "KEEP",
    "existing": "KEEP",
    "current": "KEEP",
    "old": "KEEP",
}
_RENEWAL |= {"new": "NEW", "fresh": "NEW", "rotate": "NEW", "rotating": "NEW", "rotated": "NEW", "rekey": "NEW", "re-key": "NEW"}
_OF_A_VALIDITY = frozenset("SPAN DATE VALID UNTIL FOR".split())
_IN_RENEWAL = frozenset("RENEW CERT CERTID KEY WITH AND COMMA COLON DASH".split())


class _Words(Lexer):
    """Passes tokens that `words` and `reasons` have already made on to Lark's parser."""

    def __init__(self, lexer_conf: Any) -> None:
        """Lark passes its lexer configuration, which is not needed here."""

    def lex(self, lexer_state: Any, parser_state: Any = None) -> Iterator[Token]:
        """Return the tokens. For a custom lexer Lark passes the argument of `parse` on unchanged as `lexer_state`."""
        for number, word in enumerate(lexer_state):
            yield Token(word.kind, word.text, start_pos=number)


_PARSER = Lark(Path(__file__).with_name("sentence.lark").read_text(encoding="utf-8"), parser="lalr", lexer=_Words)


def parse(text: str, defaults: IntakeDefaults) -> Plan:
    """Return the plan of one request sentence.

    Deterministic: the same text, defaults and day give the same plan. What the text leaves open is
    filled from `defaults` and named in the plan's notes. Raises NotUnderstood with the 0-based
    position of the first word that does not fit, and a sentence that would be understood.
    """
    raw = read_words(text)
    match _workflow(raw):
        case "REVOKE":
            return _revoke_plan(_parts(reason_words(raw), text, REVOKE_EXAMPLE), len(text))
        case "RENEW":
            return _renew_plan(_parts(_renew_words(raw), text, RENEW_EXAMPLE), len(text))
    return issue_plan(_parts(issue_words(raw), text, EXAMPLE), defaults, len(text))


def parse_key(text: str, defaults: IntakeDefaults) -> tuple[KeySpec, tuple[str, ...]]:
    """Return a key as a sentence would say it ("RSA 4096", "P-256"), alone in a field or cell; with notes. Raises NotUnderstood."""
    return key_of(_parts(issue_words(read_words(text)), text, EXAMPLE), defaults)


def parse_validity(text: str, defaults: IntakeDefaults) -> tuple[Validity, tuple[str, ...]]:
    """Return a validity as a sentence would say it ("90 days", "until 2027-01-31"), alone in a cell; with notes. Raises NotUnderstood."""
    words = issue_words(read_words(text))
    for word in words:
        if word.kind not in _OF_A_VALIDITY:
            raise NotUnderstood(f"{text[:80]!r} is not a validity", position=word.at, example=EXAMPLE)
    return validity_of_parts(_parts(words, text, EXAMPLE), defaults)


def _workflow(words: list[Word]) -> str:
    """Return ISSUE, RENEW, REVOKE or another token kind: the first word that is no filler decides how the sentence is read."""
    first = next((word.kind for word in words if word.kind not in ("FILLER", "COMMA")), "")
    if not first:
        raise NotUnderstood("The request is empty", position=0, example=EXAMPLE)
    return first


def _parts(words: list[Word], text: str, example: str) -> list[Part]:
    for word in words:
        if word.kind in ("UNKNOWN", "RESERVED", "LONGNUMBER"):
            raise _not_understood(word, example)
    try:
        tree = _PARSER.parse(words)
    except UnexpectedToken as error:
        number = error.token.start_pos if error.token.type != "$END" else None
        if number is None:
            raise NotUnderstood("The request ends too early", position=len(text), example=example) from error
        raise _not_understood(words[number], example) from error
    except UnexpectedInput as error:
        raise NotUnderstood("The request is not understood", position=0, example=example) from error
    sentence = tree.children[0]
    assert isinstance(sentence, Tree)
    return [_part(child, words) for child in sentence.children]


def _part(child: Tree[Token] | Token, words: list[Word]) -> Part:
    if isinstance(child, Token):
        return Part(child.type, (words[child.start_pos or 0],))
    tokens = [token for token in child.children if isinstance(token, Token)]
    return Part(_rule_name(child, tokens), tuple(words[token.start_pos or 0] for token in tokens))


def _rule_name(tree: Tree[Token], tokens: list[Token]) -> str:
    """Return the name of a grammar rule; of `life` and `mark`, which only group single words, the kind of the word."""
    name = str(tree.data)
    return tokens[0].type if name in ("life", "mark") else name


def _not_understood(word: Word, example: str) -> NotUnderstood:
    if word.kind == "LONGNUMBER":
        message = f"The number {word.text[:12]}… has more than 6 digits"
    elif word.kind == "INT":
        message = f"{word.text!r}: of what? Say days, weeks, months or years, or a key size after its kind"
    elif word.kind == "UNKNOWN" and set(word.text) & set("/@"):
        message = f"{word.text[:80]!r} is not a host name: leave out the scheme, port, path or user"
    elif word.kind == "UNIT":
        message = f"{word.text!r}: how many?"
    elif word.kind == "NAME":
        return NotUnderstood(
            f"{word.text[:80]!r} is not understood here", position=word.at, example=LIST_EXAMPLE if example == EXAMPLE else example
        )
    else:
        message = f"{word.text[:80]!r} is not understood here"
    return NotUnderstood(message, position=word.at, example=example)


def _renew_words(words: list[Word]) -> list[Word]:
    result: list[Word] = []
    at = 0
    while at < len(words):
        word, low = words[at], words[at].text.lower()
        target = certificate_word(words, at)
        if target:
            result.append(target[0])
            at += target[1]
            continue
        at += 1
        before_a_host = low in ("for", "of") and at < len(words) and names_a_host(words[at])
        if low in _SMALL_IN_RENEWAL or before_a_host:
            continue
        kind = _RENEWAL.get(low, word.kind)
        if kind not in _IN_RENEWAL and kind not in ("KEEP", "NEW"):
            message = (
                f"{word.text[:80]!r} is not understood: a renewal takes a certificate's id, its serial number or one of its names "
                "in full, and may say 'with a new key', nothing else"
            )
            raise NotUnderstood(message, position=word.at, example=RENEW_EXAMPLE)
        result.append(Word(kind, word.text, word.at, word.value))
    return result


def _renew_plan(parts: list[Part], end: int) -> RenewPlan:
    target = _target(parts, end, RENEW_EXAMPLE)
    key = _only([part for part in parts if part.kind in ("new_key", "keep_key")], "options for the key", RENEW_EXAMPLE, by_kind=True)
    notes = () if key else ("The key is kept; say 'with a new key' for a new one",)
    key_option = key.kind if key else ""
    return RenewPlan(
        cert_id=_written(target, "cert_id"),
        new_key=key_option == "new_key",
        keep_key=key_option == "keep_key",
        notes=(*_serial_notes(target), *notes),
        serial_number=_serial(target),
        name=_written(target, "host"),
    )


def _revoke_plan(parts: list[Part], end: int) -> RevokePlan:
    target = _target(parts, end, REVOKE_EXAMPLE)
    reason = _only([part for part in parts if part.kind == "reason"], "reasons", REVOKE_EXAMPLE)
    if reason is None:
        raise ReasonMissing(
            f"Why? A reason is needed: {OFFERED}",
            position=end,
            example=REVOKE_EXAMPLE,
            cert_id=_written(target, "cert_id"),
            serial_number=_serial(target),
            name=_written(target, "host"),
        )
    return RevokePlan(
        reason=RevocationReason(str(reason.words[0].value)),
        cert_id=_written(target, "cert_id"),
        serial_number=_serial(target),
        destroy_key=any(part.kind == "destroy_key" for part in parts),
        notes=_serial_notes(target),
        name=_written(target, "host"),
    )


def _target(parts: list[Part], end: int, example: str) -> Part:
    """Return the one certificate that a renewal or revocation names. Raises NotUnderstood for none and for two."""
    target = _only([part for part in parts if part.kind in ("cert_id", "serial", "host")], "certificates", example)
    if target is None:
        message = "Which certificate? Say its id, such as cert-5678, its serial number or one of its names in full"
        raise NotUnderstood(message, position=end, example=example)
    return target


def _written(target: Part, kind: str) -> str:
    return str(target.words[0].value) if target.kind == kind else ""


def _serial(target: Part) -> int | None:
    return int(str(target.words[0].value)) if target.kind == "serial" else None


def _serial_notes(target: Part) -> tuple[str, ...]:
    """Return a note for a serial number of digits only, which was read as decimal and would be another number in hexadecimal."""
    text, number = target.words[0].text, _serial(target)
    if number is None or not text.isdigit() or not number == int(text) != int(text, 16):
        return ()
    return (f"The serial number {text} is read as decimal; write 0x{text} for hexadecimal",)


def _only(found: list[Part], what: str, example: str, *, by_kind: bool = False) -> Part | None:
    """Return the first of the parts, None where there is none. Raises NotUnderstood where two of them contradict each other."""
    for part in found[1:]:
        same = part.kind == found[0].kind and (by_kind or part.words[0].value == found[0].words[0].value)
        if not same:
            first = found[0].words[0].text
            raise NotUnderstood(f"Two {what}: {first!r} and {part.words[0].text!r}; say one", position=part.at, example=example)
    return found[0] if found else None
