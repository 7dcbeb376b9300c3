"""Suggest a request sentence for a text that was not understood, from the words that were. Pure."""

from __future__ import annotations

from certs.errors import NotUnderstood
from certs.language.grammar import parse
from certs.language.words import Word, read_words
from certs.servers.kinds import PLACE_WORDS
from certs.spec import IntakeDefaults, IssuePlan

_MOST_NAMES = 5


def nearest_sentence(text: str, defaults: IntakeDefaults) -> str:
    """Return a sentence with the hosts, key, validity, kind and place that the text names.

    Returns "" where the text names no full host name, or no such sentence would be understood. The
    grammar understands the sentence; the person decides whether it is what was meant.
    """
    try:
        words = read_words(text)
    except NotUnderstood:
        return ""
    hosts = list(dict.fromkeys(word.text for word in words if word.kind in ("NAME", "QUOTED") and "." in word.text))
    if not hosts or len(hosts) > _MOST_NAMES:
        return ""
    kind = "TLS client certificate" if any(word.kind in ("CLIENT", "MTLS") for word in words) else "certificate"
    names = " and ".join(filter(None, (", ".join(hosts[:-1]), hosts[-1])))
    # Begin with all parts, and leave them out from the last until the grammar understands the sentence.
    parts = [_key(words), _life(words), _place(words)]
    for left_out in range(len(parts) + 1):
        sentence = " ".join(filter(None, (f"Issue {kind} for {names}", *parts[: len(parts) - left_out])))
        if _is_understood(sentence, defaults):
            return sentence
    return ""


def _key(words: list[Word]) -> str:
    for word, following in zip(words, [*words[1:], Word("END", "", -1)], strict=True):
        if word.kind == "KEYSPEC":
            return f"with {word.text}"
        if word.kind == "FAMILY" and following.kind == "INT":
            return f"with {word.text} {following.text}"
    return ""


def _life(words: list[Word]) -> str:
    for word, following in zip(words, [*words[1:], Word("END", "", -1)], strict=True):
        if word.kind == "SPAN":
            return f"for {word.text}"
        if word.kind == "INT" and following.kind == "UNIT":
            return f"for {word.text} {following.text}"
        if word.kind == "DATE":
            return f"until {word.text}"
    return ""


def _place(words: list[Word]) -> str:
    return next((f"on {word.text}" for word in words if word.text.lower() in PLACE_WORDS), "")


def _is_understood(sentence: str, defaults: IntakeDefaults) -> bool:
    try:
        return isinstance(parse(sentence, defaults), IssuePlan)
    except NotUnderstood:
        return False
