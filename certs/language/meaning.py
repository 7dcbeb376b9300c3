"""Make a plan of the parts of an issue request: names, key, validity, profile and place. Pure.

Every default that fills a gap becomes a note of the plan; contradictions are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from certs.errors import NotUnderstood
from certs.language.hosts import Host, Pattern, host_of, pattern_of, range_of
from certs.language.spans import validity_of
from certs.language.words import EXAMPLE, Word
from certs.servers.kinds import Place
from certs.spec import CertificateSpec, IntakeDefaults, IssuePlan, Validity
from keys.spec import KeySpec, key_label

MAX_NAMES = 100
LIST_EXAMPLE = "Issue certificate for api.example.com and www.example.com with RSA 4096"
SAN_EXAMPLE = "Issue certificate for api.example.com with SANs www.example.com, mail.example.com"
EACH_EXAMPLE = "Issue certificates for api-1 through api-10, all RSA 4096, 90 days"
_BUILT_IN_PROFILES = ("tls-server", "tls-client")
_FAMILIES = {"rsa": "rsa", "ml-dsa": "ml-dsa", "mldsa": "ml-dsa"}
_NAMES_SHOWN = 5
_ASKS_FOR_ONE = frozenset(("CERT", "CERTS", "ISSUE", "TLS", "MTLS", "PLACE"))  # one of these, and the names, say enough
KEY_ELSEWHERE = (
    "A server needs its private key in a file. A key that the portal makes stays in the vault: "
    "make the key and a CSR on the server, and send the CSR instead"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the sentence: the grammar rule that matched (or the kind of a single token), and its tokens."""

    kind: str
    words: tuple[Word, ...]

    @property
    def at(self) -> int:
        return self.words[0].at


@dataclass(slots=True)
class _Requested:
    """Everything that a sentence requests, collected before contradictions are looked for."""

    names: list[Pattern] = field(default_factory=list)
    sans: list[Pattern] = field(default_factory=list)
    common_name: Pattern | None = None
    families: list[tuple[str, Word]] = field(default_factory=list)
    sizes: list[tuple[int, Word]] = field(default_factory=list)
    lives: list[Word] = field(default_factory=list)
    profiles: list[tuple[str, Word]] = field(default_factory=list)
    places: list[tuple[str, Word]] = field(default_factory=list)
    marks: dict[str, Word] = field(default_factory=dict)


def issue_plan(parts: list[Part], defaults: IntakeDefaults, end: int) -> IssuePlan:
    """Return the plan of an issue request.

    `end`: the length of the text, which is the position of a missing part. Raises NotUnderstood for a
    missing name, an unknown word in a part, and parts that contradict each other.
    """
    if not {part.kind for part in parts} & _ASKS_FOR_ONE:
        raise NotUnderstood("Say what to do: issue, renew or revoke", position=0, example=_example_for(parts))
    asked = _gather(parts)
    notes: list[str] = []
    groups = _grouped(asked, defaults, end, notes)
    _check_count(asked, len(groups))
    key, validity, profile = _key(asked, defaults, notes), _validity(asked, defaults, notes), _profile(asked, defaults, notes)
    specs = tuple(
        CertificateSpec(
            common_name=next((host.name for host in hosts if not host.is_ip), hosts[0].name),
            dns_names=tuple(host.name for host in hosts if not host.is_ip),
            ip_addresses=tuple(host.name for host in hosts if host.is_ip),
            key=key.value,
            validity_days=validity.days,
            not_after=validity.not_after,
            profile=profile,
        )
        for hosts in groups
    )
    place, server = _place(asked)
    if place in (Place.SERVER, Place.JAVA):
        notes.append(KEY_ELSEWHERE)
    return IssuePlan(specs, tuple(notes), place, server)


def _example_for(parts: list[Part]) -> str:
    """Return a sentence with the first host that was typed; the usual example where there is none."""
    name = next((part.words[0].text for part in parts if part.kind == "name" and "." in part.words[0].text), "")
    return f"Issue certificate for {name}" if name and not set(name) & set("{}") else EXAMPLE


def _place(asked: _Requested) -> tuple[str, str]:
    """Return the place where the certificate is used and the slug of the server software; "" for what the sentence does not name."""
    # "on my server with nginx" names two places; the one with its software is the more exact.
    places = [one for one in asked.places if one[0] != f"{Place.SERVER}/"] or asked.places
    _refuse_two(places, "places")
    place, _, server = places[0][0].partition("/") if places else ("", "", "")
    return place, server


def key_of(parts: list[Part], defaults: IntakeDefaults) -> tuple[KeySpec, tuple[str, ...]]:
    """Return the key that the parts of a table cell name, and notes on what was assumed. Raises NotUnderstood for any other part."""
    asked, notes = _Requested(), list[str]()
    for part in parts:
        if not _gather_key(part, asked) and part.kind not in ("KEY", "NIST"):
            raise NotUnderstood(f"{part.words[0].text[:80]!r} does not name a key", position=part.at, example=EXAMPLE)
    if not asked.families and not asked.sizes:
        raise NotUnderstood("The key is missing", position=0, example=EXAMPLE)
    return _key(asked, defaults, notes), tuple(notes)


def validity_of_parts(parts: list[Part], defaults: IntakeDefaults) -> tuple[Validity, tuple[str, ...]]:
    """Return the validity that the parts of a table cell name, and notes on how it was counted. Raises NotUnderstood."""
    asked, notes = _Requested(), list[str]()
    for part in parts:
        if part.kind in ("SPAN", "DATE"):
            asked.lives.append(part.words[0])
    if not asked.lives:
        raise NotUnderstood("The validity is missing", position=0, example=EXAMPLE)
    return _validity(asked, defaults, notes), tuple(notes)


def _gather(parts: list[Part]) -> _Requested:
    asked = _Requested()
    lists = _NameLists()
    for part in parts:
        word = part.words[0]
        match part.kind:
            case "name" | "range":
                lists.read(part, asked)
            case "SPAN" | "DATE":
                asked.lives.append(word)
            case "profile_name" | "profile_named":
                asked.profiles.append((part.words[-1].text.lower(), part.words[-1]))
            case "PLACE":
                asked.places.append((str(word.value), word))
            case "server" | "client":
                lists.refuse_profile_in_list(word)
                asked.profiles.append((f"tls-{part.kind}", word))
            case _:
                if not _gather_key(part, asked):
                    asked.marks.setdefault(part.kind.upper(), word)
        lists.after(part.kind)
    _refuse_loose_ends(asked)
    return asked


def _gather_key(part: Part, asked: _Requested) -> bool:
    """Collect a part that describes the key. Returns False for any other part."""
    word, last = part.words[0], part.words[-1]
    match part.kind:
        case "keyspec":
            family, bits = str(word.value).split()
            asked.families.append((family, word))
            asked.sizes.append((int(bits), word))
        case "sized_family":
            asked.families.append((_family(word), word))
            asked.sizes.append((int(str(last.value)), last))
        case "family":
            asked.families.append((_family(word), word))
        case "size" | "stated_size":
            asked.sizes.append((int(str(last.value)), last))
        case "other_key":
            raise NotUnderstood(f"{word.text} is not offered; offered are {_offered()}", position=word.at, example=EXAMPLE)
        case _:
            return False
    return True


def _family(word: Word) -> str:
    return _FAMILIES.get(word.text.lower(), "ec")


class _NameLists:
    """Tracks which list a name belongs to (main names, SANs, common name) while the parts are read in order.

    Names in a list need a separator. After another part, a list needs a new beginning such as "for"
    or "with SANs".
    """

    def __init__(self) -> None:
        self._open = True
        self._introduced = False
        self._into = "names"
        self._kinds: list[str] = ["START"]

    def read(self, part: Part, asked: _Requested) -> None:
        if self._kinds[-1] in ("name", "range"):
            raise NotUnderstood(f"{part.words[0].text!r} is not understood after a name", position=part.at, example=LIST_EXAMPLE)
        if not self._open:
            message = f"It is not clear what {part.words[0].text!r} belongs to: keep names together, separated by commas"
            raise NotUnderstood(message, position=part.at, example=LIST_EXAMPLE)
        if not self._introduced and "." not in part.words[0].text:
            message = f"{part.words[0].text!r} is not understood before the word certificate; a host comes after 'for'"
            raise NotUnderstood(message, position=part.at, example=LIST_EXAMPLE)
        pattern = pattern_of(part.words[0]) if part.kind == "name" else range_of(part.words[0], part.words[2])
        if self._into == "common_name":
            if asked.common_name or pattern.count > 1:
                raise NotUnderstood("A certificate has one common name", position=part.at, example=EXAMPLE)
            asked.common_name, self._into = pattern, "names"
        else:
            (asked.sans if self._into == "sans" else asked.names).append(pattern)

    def after(self, kind: str) -> None:
        named = any(earlier in ("name", "range") for earlier in self._kinds)
        if kind in ("FOR", "SAN", "CN", "CERT", "CERTS"):
            self._introduced = True
        if kind in ("SAN", "CN"):
            self._open = True
        elif kind == "FOR":
            # After the names, only ", for" or "and for" goes on with them: "for api for the next ..." speaks of something else.
            self._open = not named or self._kinds[-1] in ("AND", "COMMA", "SAN")
        if kind in ("FOR", "SAN", "CN"):
            # "with SANs for a, b" goes on with SANs; any other "for" begins the main names.
            self._into = {"SAN": "sans", "CN": "common_name"}.get(kind, self._into if self._kinds[-1] == "SAN" else "names")
        elif kind not in ("name", "range", "COMMA", "AND", "DASH", "EACH") and named:
            self._open = False
        self._kinds.append(kind)

    def refuse_profile_in_list(self, word: Word) -> None:
        if self._kinds[-1] == "AND" and self._kinds[-2:-1] in (["name"], ["range"]):
            message = (
                f"Is {word.text!r} a host or the kind of certificate? Put a host between quotation marks, or write tls-{word.text.lower()}"
            )
            raise NotUnderstood(message, position=word.at, example='Issue certificates for api and "server"')


def _refuse_loose_ends(asked: _Requested) -> None:
    """Raise NotUnderstood for a word that announces a part which does not follow, such as "valid" without a validity."""
    dates = [word for word in asked.lives if word.kind == "DATE"]
    wildcards = [pattern for pattern in (*asked.names, *asked.sans, asked.common_name) if pattern and pattern.text.startswith("*.")]
    until = "Issue certificate for api.example.com until 2027-01-31"
    announced = (
        ("VALID", asked.lives, "The validity is missing after this word", EXAMPLE),
        ("UNTIL", dates, "A date is missing after this word", until),
        ("SAN", asked.sans, "The names are missing after this word", SAN_EXAMPLE),
        ("CN", asked.common_name, "The common name is missing after this word", "Issue certificate with CN api.example.com"),
        ("WILDCARD", wildcards, "Write the wildcard itself, with its *", "Issue wildcard certificate for *.apps.example.com"),
        (
            "MTLS",
            asked.profiles,
            "mTLS has two sides: say 'mTLS client' or 'mTLS server'",
            "Issue mTLS client certificate for api.example.com",
        ),
    )
    for mark, found, message, example in announced:
        if mark in asked.marks and not found:
            raise NotUnderstood(message, position=asked.marks[mark].at, example=example)
    if dates and not asked.marks.keys() & {"UNTIL", "VALID"}:
        raise NotUnderstood("What about this date? Say 'until'", position=dates[0].at, example=until)


def _grouped(asked: _Requested, defaults: IntakeDefaults, end: int, notes: list[str]) -> list[list[Host]]:
    """Return the names of each certificate. Patterns are counted before any is expanded. Raises NotUnderstood for too many."""
    mains = ([asked.common_name] if asked.common_name else []) + asked.names
    patterns = mains + asked.sans
    if not patterns:
        raise NotUnderstood("The name of the host is missing", position=end, example=EXAMPLE)
    total = sum(pattern.count for pattern in patterns)
    one_each = "CERTS" in asked.marks or "EACH" in asked.marks
    if one_each and asked.sans and sum(pattern.count for pattern in mains) > 1:
        message = "Which of the certificates shall have these SANs? Ask for each certificate by itself"
        raise NotUnderstood(message, position=asked.sans[0].at, example=SAN_EXAMPLE)
    one_each = one_each and not asked.sans
    if one_each and total > defaults.max_items:
        raise NotUnderstood(
            f"{total} certificates are more than the {defaults.max_items} of one order", position=patterns[0].at, example=EACH_EXAMPLE
        )
    if not one_each and total > MAX_NAMES:
        message = f"{total} names do not fit on one certificate (at most {MAX_NAMES}); say 'certificates' for one each"
        raise NotUnderstood(message, position=patterns[0].at, example=EACH_EXAMPLE)
    hosts = _distinct(patterns, defaults.domain, notes)
    if len(hosts) > 1:
        notes.append(f"{len(hosts)} certificates, one for each name" if one_each else f"One certificate with {len(hosts)} names")
    return [[host] for host in hosts] if one_each else [hosts]


def _distinct(patterns: list[Pattern], domain: str, notes: list[str]) -> list[Host]:
    found: dict[str, Host] = {}
    twice: dict[str, None] = {}
    for pattern in patterns:
        for name in pattern.names():
            host = host_of(name, pattern.at, domain)
            if host.name in found:
                twice[host.name] = None
            found.setdefault(host.name, host)
    completed = [host.name for host in found.values() if host.completed]
    if completed:
        notes.append(f"Completed with the default domain {domain}: {_shown(completed)}")
    notes += [f"{host.converted_from} is written {host.name} in a certificate" for host in found.values() if host.converted_from][
        :_NAMES_SHOWN
    ]
    if twice:
        notes.append(f"Asked for more than once, taken once: {_shown(list(twice))}")
    return list(found.values())


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _check_count(asked: _Requested, certificates: int) -> None:
    count = asked.marks.get("COUNT")
    if count is None or int(str(count.value)) == certificates or (count.value == 1 and "EACH" in asked.marks):
        return
    message = f"{count.text} certificates are asked for, but the names make {certificates}"
    raise NotUnderstood(message, position=count.at, example=EACH_EXAMPLE)


def _key(asked: _Requested, defaults: IntakeDefaults, notes: list[str]) -> KeySpec:
    _refuse_two(asked.families, "kinds of key")
    _refuse_two(asked.sizes, "key sizes")
    if not asked.families and not asked.sizes:
        notes.append(f"Key {defaults.key.label}: the policy's default")
        return defaults.key
    word = (asked.sizes or asked.families)[0][1]
    bits = asked.sizes[0][0] if asked.sizes else 0
    family = asked.families[0][0] if asked.families else ""
    if not family:
        if not any(spec.family == "rsa" and spec.bits == bits for spec in KeySpec):
            raise NotUnderstood(f"{word.text!r}: of which kind of key? Offered are {_offered()}", position=word.at, example=EXAMPLE)
        family = "rsa"
        notes.append(f"{word.text} is understood as RSA {bits}: no other kind of key has that size")
    if not asked.sizes and family == defaults.key.family:
        notes.append(f"Key {defaults.key.label}: the policy's default among {word.text} keys")
        return defaults.key
    for spec in KeySpec:
        if (spec.family, spec.bits) == (family, bits):
            return spec
    problem = f"{key_label(family, bits)} is not offered" if asked.sizes else f"{word.text} needs a size"
    raise NotUnderstood(f"{problem}; offered are {_offered()}", position=word.at, example=EXAMPLE)


def _offered() -> str:
    return ", ".join(spec.label for spec in KeySpec)


def _validity(asked: _Requested, defaults: IntakeDefaults, notes: list[str]) -> Validity:
    if not asked.lives:
        notes.append(defaults.validity_note)
        return Validity(defaults.validity_days)
    counted = [(validity_of(word, defaults.today), word) for word in asked.lives]
    _refuse_two([(validity.text, word) for (validity, _), word in counted], "validities")
    notes += dict.fromkeys(note for (_, note), _ in counted if note)
    return counted[0][0][0]


def _profile(asked: _Requested, defaults: IntakeDefaults, notes: list[str]) -> str:
    _refuse_two(asked.profiles, "profiles")
    if not asked.profiles:
        notes.append(f"Profile {defaults.profile}: the policy's default")
        return defaults.profile
    name, word = asked.profiles[0]
    known = tuple(dict.fromkeys((*defaults.profiles, *_BUILT_IN_PROFILES)))
    if name not in known:
        message = f"There is no profile {word.text[:64]!r}; there are {', '.join(known)}"
        raise NotUnderstood(message, position=word.at, example=f"Issue certificate for api.example.com with profile {known[0]}")
    return name


def _refuse_two(found: list[tuple[str, Word]] | list[tuple[int, Word]], what: str) -> None:
    for value, word in found[1:]:
        if value != found[0][0]:
            first = found[0][1]
            raise NotUnderstood(f"Two {what}: {first.text!r} and {word.text!r}; say one", position=word.at, example=EXAMPLE)
