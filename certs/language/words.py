"""Cut a request sentence into tokens for the grammar; several spellings of a word become the same kind of token. Pure.

Each token keeps its 0-based character offset, so that an error can point at it. Neighbouring words
that mean one thing (`90 days`, `4096 bits`, `a year`, `web server`) become one token.
"""

# ruff: noqa: SIM905 - lists of words read best as text
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from certs.errors import InputRefused, NotUnderstood
from certs.language.days import day_in_digits, without_time
from certs.servers.kinds import PLACE_WORDS, Place, place_of_word
from certs.x509.dns_names import host_from_url

MAX_CHARS = 4096
MAX_DIGITS = 6
_YEAR_DIGITS = 4
EXAMPLE = "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity"
UNTIL_EXAMPLE = "Issue certificate for api.example.com until 2027-01-31"


@dataclass(frozen=True, slots=True)
class Word:
    """A token: its kind (a terminal of the grammar), the text as written, its position, and the value that it stands for."""

    kind: str
    text: str
    at: int
    value: str | int | date = ""


def _table(**kinds: str) -> dict[str, str]:
    return {word: kind for kind, words in kinds.items() for word in words.split()}


# Words without meaning: leaving them out changes no plan. A word that could change one has a token kind of its own.
_FILLER = frozenset(
    "please kindly a an the me us my our i i'd we we'd you can could would like to have host hosts hostname hostnames dns fqdn fqdns "
    "domain domains name names site website machine machines address addresses ip ips "
    "of that which is are be it new hi hello hey thanks thank".split()
)
# Words that reverse or restrict a sentence. They must never be read as a host name, or dropped.
_RESERVED = frozenset(
    "except excluding exclude without not no never but unless if or either between than only in next exactly about around maximum minimum "
    "most least longer shorter now starting beginning today tomorrow before after within during since".split()
)
_TERMINALS = _table(
    ISSUE="issue request create make generate get order need want require obtain provision give sign",
    RENEW="renew renewal",
    REVOKE="revoke revocation",
    CERT="certificate cert",
    CERTS="certificates certs",
    AND="and & + plus also",
    WITH="with using use on as by having from via under",
    FOR="for",
    VALID="validity valid lifetime life duration period expiring expires expire expiry lasting",
    UNTIL="until till",
    SAN="san sans subject alternative alternate alt altname altnames subjectaltname subjectaltnames additional including covering "
    "alias aliases",
    CN="cn common",
    EACH="each every apiece individual separate individually separately",
    ALL="all",
    KEY="key keys keypair algorithm type pair",
    SIZE="size keysize key-size length strength",
    FAMILY="rsa ec ecdsa ecc elliptic curve ml-dsa mldsa",
    NIST="nist",
    TLS="tls ssl https x509 x.509",
    SERVER="server servers",
    CLIENT="client clients",
    MTLS="mtls mutual",
    AUTH="authentication auth",
    PROFILE="profile",
    WILDCARD="wildcard wildcards",
    RANGE="through thru",
)
_POLITE = frozenset("please kindly hi hello hey thanks thank you".split())
_BEFORE_A_NAME = frozenset("FOR COMMA AND SAN CN RANGE".split())
_AFTER_A_NAME = frozenset("COMMA AND END RANGE WITH VALID UNTIL DASH".split())
_COUNTED = frozenset("CERT CERTS TLS SERVER CLIENT MTLS KEYSPEC WILDCARD".split())
_UNITS = {"d": "day", "day": "day", "week": "week", "month": "month", "year": "year", "yr": "year"}
_UNITS |= {f"{unit}s": name for unit, name in _UNITS.items() if unit != "d"}
_NUMBERS = {word: n for n, word in enumerate("one two three four five six seven eight nine ten eleven twelve".split(), start=1)}
_MONTHS = {
    m: n for n, m in enumerate("january february march april may june july august september october november december".split(), start=1)
}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items() if name != "may"} | {"sept": 9}

# "on my own nginx web server": words before and after the one that names the place.
_BEFORE_A_PLACE = frozenset("on in inside through thru via behind under with using running".split())
_OF_THE_REQUESTER = frozenset("own".split())
_AFTER_A_PLACE = frozenset("server servers webserver box host machine proxy instance cluster keystore".split())

_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "`": "`"}
_PIECE = re.compile(r"(?:\{[^{}]*\}|[^\s,;()\"“”„«»{}`])+")
_PUNCTUATION = {",": "COMMA", ";": "COMMA", "(": "COMMA", ")": "COMMA"}
_HOST_CHARS = re.compile(r"[\w.*:\[\]-]+(?:\{[^{}]*\}[\w.*:\[\]-]*)*|(?:\{[^{}]*\}[\w.*:\[\]-]*)+")
_NAMED = re.compile(r"(?i)(cn|san|sans|dns|ip|reason|serial|serial[-_]?number|validity|profile|key)([=:])(?=.)")
_CERT_ID = re.compile(r"cert-[0-9][0-9a-z-]*")
_SPAN = re.compile(r"(\d+)-?(d|days?|weeks?|months?|years?|yrs?)")
_KEYS = (
    (re.compile(r"rsa[-_]?(\d+)(?:-?bits?)?"), "rsa"),
    (re.compile(r"(\d+)-?bits?"), ""),
    (re.compile(r"(?:(?:ec|ecdsa|ecc)[-_]?)?(?:nist[-_]?)?p-?(\d{3})"), "ec"),
    (re.compile(r"(?:secp|sec-p-?|prime)(\d{3})(?:r1|v1)"), "ec"),
    (re.compile(r"(?:ec|ecdsa|ecc)[-_]?secp(\d{3})r1"), "ec"),
    (re.compile(r"(?:ec|ecdsa)[-_]?(\d{3})"), "ec"),
    (re.compile(r"ml-?dsa-?(\d{2})"), "ml-dsa"),
)
_OTHER_KEYS = frozenset("dsa ed448 eddsa secp256k1 x25519 curve25519 brainpoolp256r1 brainpoolp384r1 slh-dsa dilithium falcon sm2".split())


def read_words(text: str) -> list[Word]:
    """Return the words of the text one by one, fillers included.

    Raises NotUnderstood for a text that is too long, a control character and an open quotation mark.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_CHARS:
        raise NotUnderstood(
            f"The text is longer than {MAX_CHARS} bytes; use a CSV upload for long lists", position=MAX_CHARS, example=EXAMPLE
        )
    for at, char in enumerate(text):
        # Surrogates and control or format characters could make two texts that look alike mean different things.
        if (not char.isprintable() and char not in " \t\r\n\u00a0") or "\ud800" <= char <= "\udfff":
            raise NotUnderstood(f"A control character (U+{ord(char):04X}) is in the text", position=at, example=EXAMPLE)
    return list(_pieces(text))


def _pieces(text: str) -> Iterator[Word]:
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
        elif char in _PUNCTUATION:
            yield Word(_PUNCTUATION[char], char, at)
            at += 1
        elif char in _QUOTES:
            end = text.find(_QUOTES[char], at + 1)
            if end < 0:
                raise NotUnderstood("A quotation mark is not closed", position=at, example=EXAMPLE)
            yield _quoted(text[at + 1 : end], at + 1)
            at = end + 1
        else:
            match = _PIECE.match(text, at)
            if match is None:
                raise NotUnderstood(
                    f"{char!r} is not understood here", position=at, example="Issue certificates for api-{1..10}.example.com"
                )
            yield from _split(match.group(), at)
            at = match.end()


def _quoted(text: str, at: int) -> Word:
    name = text.strip()
    if not name:
        raise NotUnderstood("Nothing stands between the quotation marks", position=at, example=EXAMPLE)
    return Word("QUOTED", name, at + text.index(name), name)


def _split(piece: str, at: int) -> Iterator[Word]:
    """Return the tokens of a piece without spaces: `api-1..api-10`, `CN=api` and `reason:` have several.

    A list in place of recursion: a sentence may have more than a thousand cuts (`cn=cn=cn=...`),
    which would exceed the interpreter's stack.
    """
    waiting: list[tuple[str, int] | Word] = [(piece, at)]
    while waiting:
        first = waiting.pop()
        if isinstance(first, Word):
            yield first
        else:
            waiting += reversed(_cut(*first))


def _cut(piece: str, at: int) -> list[tuple[str, int] | Word]:
    """Cut a piece once. Returns finished tokens and pieces to be cut further, in order."""
    bare = piece.rstrip(".!?")
    outside = re.sub(r"\{[^{}]*\}", lambda m: "x" * len(m.group()), bare)
    dots = re.search(r"\.{2,3}|…", outside)
    if dots:
        left, right = bare[: dots.start()], bare[dots.end() :]
        between = Word("RANGE", dots.group(), at + dots.start())
        before: list[tuple[str, int] | Word] = [(left, at)] if left else []
        return [*before, between, *([(right, at + dots.end())] if right else [])]
    if not bare:
        return [Word("RANGE", piece, at)] if piece == ".." else []
    named = _NAMED.match(bare)
    if named:
        colon = Word("COLON", named.group(2), at + named.end(1))
        return [(named.group(1), at), colon, (bare[named.end() :], at + named.end())]
    if bare.endswith(":") and not bare.endswith("::"):
        return [(bare[:-1], at), Word("COLON", ":", at + len(bare) - 1)]
    return [classify(bare, at)]


def classify(text: str, at: int) -> Word:
    """Return the token of one word, without regard to its neighbours."""
    low = text.casefold() if text.isascii() else text.lower()
    if low in ("-", "–", "—"):
        return Word("DASH", text, at)
    for table, kind in ((_FILLER, "FILLER"), (_RESERVED, "RESERVED"), (_OTHER_KEYS, "OTHERKEY")):
        if low in table:
            return Word(kind, text, at)
    if low in _TERMINALS:
        return Word(_TERMINALS[low], text, at, low)
    if low in ("bit", "bits"):
        return Word("BIT", text, at)
    for words, kind in ((_UNITS, "UNIT"), (_NUMBERS, "INT"), (_MONTHS, "MONTH")):
        if low in words:
            return Word(kind, text, at, words[low])
    return _number(low, text, at) or _key(low, text, at) or _thing(low, text, at)


def _number(low: str, text: str, at: int) -> Word | None:
    if low.isascii() and low.isdigit():
        # A longer one may still be a serial number; nothing ever counts with it.
        return Word("INT", text, at, int(low)) if len(low) <= MAX_DIGITS else Word("LONGNUMBER", text, at)
    span = _SPAN.fullmatch(low)
    if span:
        return Word("SPAN", text, at, f"{small_int(span[1], at)} {_UNITS[span[2]]}")
    return _day(text, at)


def _day(text: str, at: int) -> Word | None:
    """Return the DATE of a date in digits; None for any other text. Raises NotUnderstood for an ambiguous or impossible date."""
    try:
        day = day_in_digits(without_time(text))
    except InputRefused as refused:
        message = f"{refused.message} {refused.next_step}".removesuffix(".")
        raise NotUnderstood(message, position=at, example=UNTIL_EXAMPLE) from refused
    return Word("DATE", text, at, day) if day else None


def _date(text: str, at: int, year: int, month: int, day: int) -> Word:
    try:
        return Word("DATE", text, at, date(year, month, day))
    except ValueError as error:
        raise NotUnderstood(f"There is no such day as {text}", position=at, example=UNTIL_EXAMPLE) from error


def _key(low: str, text: str, at: int) -> Word | None:
    if low == "ed25519":
        return Word("KEYSPEC", text, at, "ed25519 255")
    for pattern, family in _KEYS:
        match = pattern.fullmatch(low)
        if match:
            return Word("KEYSPEC" if family else "BITS", text, at, f"{family} {small_int(match[1], at)}".strip())
    return None


def _thing(low: str, text: str, at: int) -> Word:
    if low in ("tls-server", "tls-client"):
        return Word("PROFILENAME", text, at, low)
    if _CERT_ID.fullmatch(low):
        return Word("CERTID", text, at, low)
    host = host_from_url(text)
    return Word("NAME" if _HOST_CHARS.fullmatch(host) else "UNKNOWN", host, at, host)


def small_int(digits: str, at: int) -> int:
    """Return a number in the text. Raises NotUnderstood above six digits, before anything is counted with it."""
    if len(digits) > MAX_DIGITS:
        raise NotUnderstood(f"The number {digits[:12]}… has more than {MAX_DIGITS} digits", position=at, example=EXAMPLE)
    return int(digits)


def issue_words(words: list[Word]) -> list[Word]:
    """Return the tokens of an issue request: neighbours that mean one thing are joined, then fillers are dropped."""
    words = _with_places(words)
    result: list[Word] = []
    at = 0
    while at < len(words):
        word, used = _fold(words, at, result)
        result += [word] if word else []
        at += used
    return result


def _with_places(words: list[Word]) -> list[Word]:
    """Return the words with each place where a certificate is used as one PLACE token.

    "on my nginx server", "for tomcat", "in the vault". After "for", and alone before "certificate",
    such a word names a place only where the sentence has a host besides: `certificate for nginx` is
    for a host of that name.
    """
    hosts = sum(word.kind in ("NAME", "QUOTED") and word.text.lower() not in PLACE_WORDS for word in words)
    result: list[Word] = []
    at = 0
    while at < len(words):
        end, place = _place_at(words, at, has_host=hosts > 0)
        if place:
            result.append(place)
            at = end
        else:
            result.append(words[at])
            at += 1
    return result


def _place_at(words: list[Word], at: int, *, has_host: bool) -> tuple[int, Word | None]:
    """Return the PLACE that begins at this word, and the index after its last word."""
    low = words[at].text.lower()
    introduced = low in _BEFORE_A_PLACE or (low == "for" and has_host)
    here = at + 1 if introduced else at
    while introduced and here < len(words) and _is_small(words[here]):
        here += 1
    if here == len(words) or words[here].kind == "QUOTED":
        return at, None
    named = words[here].text.lower()
    end = here + 1
    while end < len(words) and (words[end].text.lower() in _AFTER_A_PLACE or _is_web_server(words, end)):
        end += 1
    if named in PLACE_WORDS and (introduced or (has_host and end < len(words) and words[end].kind in ("CERT", "CERTS", "TLS"))):
        return end, Word("PLACE", words[here].text, words[here].at, "/".join(place_of_word(named)))
    if low == "on" and (named in ("server", "webserver") or _is_web_server(words, here)):
        return end, Word("PLACE", words[here].text, words[here].at, f"{Place.SERVER}/")
    return at, None


def _is_small(word: Word) -> bool:
    return word.kind == "FILLER" or word.text.lower() in _OF_THE_REQUESTER


def _is_web_server(words: list[Word], at: int) -> bool:
    return words[at].text.lower() == "web" and at + 1 < len(words) and words[at + 1].kind == "SERVER"


def _fold(words: list[Word], at: int, before: list[Word]) -> tuple[Word | None, int]:
    """Return the token that begins at this word (None for a word that is dropped), and the number of words that it covers."""
    word = words[at]
    following = words[at + 1] if at + 1 < len(words) else Word("END", "", -1)
    if word.kind == "QUOTED":
        return Word("NAME", word.text, word.at, word.text), 1
    pair = _pair(word, following)
    if pair:
        return pair, 2
    return _written_date(words, at) or (_single(word, following, before), 1)


def _pair(word: Word, following: Word) -> Word | None:
    """Return the token of two words that mean one thing; None where they do not."""
    both, low = f"{word.text} {following.text}", word.text.lower()
    match following.kind:
        case "UNIT" if word.kind == "INT" or low in ("a", "an"):
            return Word("SPAN", both, word.at, f"{word.value if word.kind == 'INT' else 1} {following.value}")
        case "BIT" if word.kind == "INT":
            return Word("BITS", both, word.at, str(word.value))
        case "SERVER" if low == "web":
            return Word("SERVER", both, word.at, "server")
        case "KEY" if low == "new":
            return Word("KEY", both, word.at)
    return None


def _single(word: Word, following: Word, before: list[Word]) -> Word | None:
    """Return the token of a word in its context, the previous token and the next word; None for a word without meaning."""
    low, previous = word.text.lower(), before[-1].kind if before else ""
    if word.kind == "INT" and following.kind in _COUNTED and previous not in ("FAMILY", "SIZE"):
        return Word("COUNT", word.text, word.at, word.value)
    if low == "in" and previous == "VALID":
        return None  # "expires in 90 days"; elsewhere "in" could mean a beginning, which a request cannot have
    if _listed_as_name(word, following, previous):
        return Word("NAME", word.text, word.at, word.text)
    if low in ("to", "bis", "through", "thru") or word.kind == "DASH":
        return _between(word, following, previous)
    return None if word.kind in ("FILLER", "COLON") else word


def _listed_as_name(word: Word, following: Word, previous: str) -> bool:
    """Return whether a filler is a host name because of its place, such as the last word of `for a, b and host`."""
    small = word.kind == "FILLER" and word.text.lower() not in _POLITE
    return small and previous in _BEFORE_A_NAME and following.kind in _AFTER_A_NAME


def _between(word: Word, following: Word, previous: str) -> Word | None:
    """Return the token of `to`, `through` or a dash: RANGE between two names, UNTIL before a date, else none."""
    if following.kind in ("DATE", "MONTH") and word.kind != "DASH":
        return Word("UNTIL", word.text, word.at)
    if previous == "NAME" and following.kind in ("NAME", "QUOTED", "INT"):
        return Word("RANGE", word.text, word.at)
    return None if word.kind == "FILLER" else word


def _written_date(words: list[Word], at: int) -> tuple[Word, int] | None:
    """Return the DATE of `31 January 2027`, `January 31, 2027` or a day without its year, and the number of words that it covers."""
    kinds = ["YEAR" if _is_year(words, at + n) else word.kind for n, word in enumerate(words[at : at + 4])]
    if kinds[:3] == ["INT", "MONTH", "YEAR"]:
        day, month, year, used = words[at], words[at + 1], words[at + 2], 3
    elif kinds[:3] == ["MONTH", "INT", "YEAR"]:
        month, day, year, used = words[at], words[at + 1], words[at + 2], 3
    elif kinds == ["MONTH", "INT", "COMMA", "YEAR"]:
        month, day, year, used = words[at], words[at + 1], words[at + 3], 4
    elif kinds[:2] in (["INT", "MONTH"], ["MONTH", "INT"]):
        return _day_of_a_year(*sorted(words[at : at + 2], key=lambda word: word.kind)), 2
    else:
        return None
    text = f"{day.text} {month.text} {year.text}"
    return _date(text, words[at].at, int(str(year.value)), int(str(month.value)), int(str(day.value))), used


def _is_year(words: list[Word], at: int) -> bool:
    """Return whether a word is a year: four digits that are not a key size, as in "until 31 January, 3072 bits"."""
    is_number = words[at].kind == "INT" and words[at].text.isdigit() and len(words[at].text) == _YEAR_DIGITS
    return is_number and (at + 1 == len(words) or words[at + 1].kind != "BIT")


def _day_of_a_year(day: Word, month: Word) -> Word:
    """Return a DATE without its year, as MM-DD. Raises NotUnderstood for a day that no year has."""
    at, text = min(day.at, month.at), f"{day.text} {month.text}"
    leap_year = 2028  # has every day that any year has
    _date(text, at, leap_year, int(str(month.value)), int(str(day.value)))
    return Word("DATE", text, at, f"{month.value:02}-{day.value:02}")
