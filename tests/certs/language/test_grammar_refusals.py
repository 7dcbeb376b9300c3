"""What is not understood: where reading stopped, why, and an example that works (every example is parsed)."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from certs.language.grammar import parse
from tests.certs.language.examples import DEFAULTS, refusal, understood

# text, the words at which the position points, a piece of the message
REFUSED = [
    ("", "", "The request is empty"),
    ("   ", "", "The request is empty"),
    ("please", "", "The request is empty"),
    ("issue", "", "The request ends too early"),
    ("Issue TLS certificate with RSA 4096", "", "The name of the host is missing"),
    ("api.example.com", "api.example.com", "Say what to do: issue, renew or revoke"),
    ("hello world", "hello world", "Say what to do"),
    ("delete everything", "delete everything", "Say what to do: issue, renew or revoke"),
    ("Issue certificate for api fancy", "fancy", "'fancy' is not understood after a name"),
    ("Issue certificate for api and revoke cert-1", "revoke cert-1", "'revoke' is not understood here"),
    ("Issue certificate for api, renew cert-1", "renew cert-1", "'renew' is not understood here"),
    ("issue short-lived certificate for api", "short-lived", "'short-lived' is not understood before the word certificate"),
    ("Issue api with RSA 4096", "api", "'api' is not understood before the word certificate"),
    ("Issue a certificate for a.example.com and a certificate for b.example.com", "b.example.com", "It is not clear what"),
    ("Issue certificate for api for www", "www", "It is not clear what 'www' belongs to"),
    ("Issue certificate for api for the next 90 days", "next 90 days", "'next' is not understood here"),
    ("Issue certificate for api, 90 days, starting 2027-01-01", "starting", "'starting' is not understood here"),
    ("Issue wildcard certificate for apps.example.com", "wildcard", "Write the wildcard itself"),
    ("Issue certificate for api signed by Internal-CA-Prod", "signed", "'signed' is not understood after a name"),
    ("Issue certificate for api with SHA-256", "SHA-256", "It is not clear what 'SHA-256' belongs to"),
    ("Issue certificate for api www", "www", "'www' is not understood after a name"),
    ("Issue certificate for api with www", "www", "It is not clear what 'www' belongs to"),
    ("Issue certificate for web, client and api", "api", "It is not clear what 'api' belongs to"),
    ("Issue certificate for api, RSA 4096, www", "www", "It is not clear what 'www' belongs to"),
    ("Issue certificate for web and client", "client", "Is 'client' a host or the kind of certificate?"),
    ("Issue certificate for web and server", "server", "Is 'server' a host or the kind of certificate?"),
    # words that would turn the sentence round
    ("Issue certificates for api-1 through api-10 except api-3", "except api-3", "'except' is not understood here"),
    ("Issue certificate for api but not www", "but not www", "'but' is not understood here"),
    ("Issue certificate for api or www", "or www", "'or' is not understood here"),
    ("Issue certificate for api without SANs", "without SANs", "'without' is not understood here"),
    ("Do not issue a certificate for api", "not issue", "'not' is not understood here"),
    ("Issue certificate for api in 90 days", "in 90 days", "'in' is not understood here"),
    ("Issue certificate for api with RSA or EC", "or EC", "'or' is not understood here"),
    # keys
    ("Issue certificate for api with RSA 4096 and P-256", "P-256", "Two kinds of key: 'RSA' and 'P-256'; say one"),
    ("Issue certificate for api with RSA 4096, RSA 2048", "2048", "Two key sizes: '4096' and '2048'; say one"),
    ("Issue certificate for api with RSA 256", "256", "RSA 256 is not offered"),
    ("Issue certificate for api with RSA 1000", "1000", "RSA 1000 is not offered; offered are RSA 2048, RSA 3072, RSA 4096"),
    ("Issue certificate for api with RSA 1024", "1024", "RSA 1024 is not offered"),
    ("Issue certificate for api with P-224", "P-224", "ECDSA P-224 is not offered"),
    ("Issue certificate for api with secp256k1", "secp256k1", "secp256k1 is not offered"),
    ("Issue certificate for api with Ed448", "Ed448", "Ed448 is not offered"),
    ("Issue certificate for api with DSA 2048", "DSA 2048", "DSA is not offered"),
    ("Issue certificate for api with ML-DSA-66", "ML-DSA-66", "ML-DSA-66 is not offered"),
    ("Issue certificate for api with ECDSA", "ECDSA", "ECDSA needs a size"),
    ("Issue certificate for api with ML-DSA", "ML-DSA", "ML-DSA needs a size"),
    ("Issue certificate for api with a 256-bit key", "256-bit key", "'256-bit': of which kind of key?"),
    # validity
    ("Issue certificate for api 90", "90", "'90': of what?"),
    ("Issue certificate for api valid", "valid", "The validity is missing after this word"),
    ("Issue certificate for api for days", "days", "'days': how many?"),
    ("Issue certificate for api for 0 days", "0 days", "The validity must be at least one day"),
    ("Issue certificate for api for 90 days and 30 days", "30 days", "Two validities: '90 days' and '30 days'; say one"),
    ("Issue certificate for api for 90 days until 2027-01-31", "2027-01-31", "Two validities"),
    ("Issue certificate for api until 2026-11-24", "2026-11-24", "2026-11-24 is not in the future"),
    ("Issue certificate for api until 2026-02-30", "2026-02-30", "There is no such day as 2026-02-30"),
    ("Issue certificate for api until tomorrow", "tomorrow", "'tomorrow' is not understood here"),
    ("Issue certificate for api until 31 February", "31 February", "There is no such day as 31 February"),
    ("Issue certificate for api until 90 days", "until 90 days", "A date is missing after this word"),
    ("Issue certificate for api 2027-01-31", "2027-01-31", "What about this date?"),
    ("Issue certificate for api for 999999 days", "999999 days", "is longer than 36500 days"),
    ("Issue certificate for api for 999999 years", "999999 years", "is longer than 36500 days"),
    ("Issue certificate for api for 1000000 days", "1000000 days", "The number 1000000… has more than 6 digits"),
    ("Issue certificate for api until 9999-12-31", "9999-12-31", "is more than 36500 days away"),
    # profiles
    ("TLS client and server certificate for api", "server", "Two profiles: 'client' and 'server'; say one"),
    ("mTLS certificate for api", "mTLS", "mTLS has two sides"),
    ("Issue certificate for api with profile email", "email", "There is no profile 'email'; there are tls-server, tls-client"),
    # names
    ("Issue certificate for ftp://api.example.com/", "ftp", "is not a host name: leave out the scheme, port, path or user"),
    ("Issue certificate for api.example.com:443", "api.example.com:443", "is not a host name: leave out the scheme"),
    ("Issue certificate for ada@example.com", "ada@", "is not a host name"),
    ("Issue certificate for -api.example.com", "-api", "is not a host name (-api.example.com: a name is labels of letters"),
    ("Issue certificate for api_1.example.com", "api_1", "it has an underscore"),
    ("Issue certificate for a..b.example.com", "a..b", "are no range"),
    ("Issue certificate for ab--cd.example.com", "ab--cd", "must be a valid A-label"),
    ("Issue certificate for " + "a" * 64, "aaa", "a name is labels of letters"),
    ("Issue certificate for 1.2.3", "1.2.3", "it is no IP address as standards write it"),
    ("Issue certificate for *", "*", "a wildcard is one * before the first dot"),
    ("Issue certificate for api until 01/02/2027", "01/02", "'01/02/2027' may be two days. Write 2027-02-01 or 2027-01-02"),
    ("Issue certificate for api until 31.12.27", "31.12", "The year of '31.12.27' has two digits"),
    ("Issue certificate for api until 31/02/2027", "31/02", "There is no such day as 31/02/2027"),
    ("Issue certificate for *.com", "*.com", "directly beneath a single label, which is never completed"),
    ("Issue certificate for DNS:*.com.", "*.com", "directly beneath a single label, which is never completed"),
    ("Issue certificate for *.apps, api", "*.apps", "write it with its whole domain"),
    ("Issue certificate for api.*.example.com", "api.*", "a wildcard is one * before the first dot"),
    ("Issue certificate for a*.example.com", "a*", "a wildcard is one * before the first dot"),
    ("Issue certificate for xn--\u00e4.example.com", "xn--", "is not a host name"),
    ('Issue certificate for "api', '"api', "A quotation mark is not closed"),
    ('Issue certificate for ""', '"', "Nothing stands between the quotation marks"),
    ("Issue certificate for api with SANs", "SANs", "The names are missing after this word"),
    ("Issue certificate with CN", "CN", "The common name is missing after this word"),
    ("Issue certificate with CN a and CN b", "b", "A certificate has one common name"),
    # ranges
    ("Issue certificates for api-10 through api-1", "api-10", "The range 10 to 1 runs backwards"),
    ("Issue certificates for api-{10..1}", "{10..1}", "The range 10 to 1 runs backwards"),
    ("Issue certificates for api-01 through api-100", "api-01", "pads its ends differently"),
    ("Issue certificates for api-1 through db-10", "api-1", "are no range: the two names must differ in exactly one number"),
    ("Issue certificates for r1-n1 through r2-n9", "r1-n1", "are no range"),
    ("Issue certificates for api through 10", "api", "api ends in no number"),
    ("Issue certificates for api-{1..10} through api-20", "api-{1..10}", "Use either braces or a range"),
    ("Issue certificates for api-{}", "{}", "is neither a range {1..10} nor a list {a,b}"),
    ("Issue certificates for api-{1..}", "{1..}", "is neither a range {1..10} nor a list {a,b}"),
    ("Issue certificates for api-{1..10", "{1..10", "'{' is not understood here"),
    ("Issue certificates for api-1 through api-1000000", "api-1000000", "has more than 6 digits"),
    ("Issue certificates for api-1 through", "", "The request ends too early"),
    # numbers of certificates
    ("Issue certificates for api-{1..10001}", "api-{1..10001}", "10001 certificates are more than the 10000 of one order"),
    ("Issue certificates for a{1..999999}{1..999999}{1..999999}", "a{1..", "are more than the 10000 of one order"),
    ("Issue certificate for api-{1..101}", "api-{1..101}", "101 names do not fit on one certificate (at most 100)"),
    ("Issue 9 certificates for api-1 through api-10", "9", "9 certificates are asked for, but the names make 10"),
    ("Issue certificates for a, b with SANs c", "c", "Which of the certificates shall have these SANs?"),
    ("Issue certificate for api 1234567", "1234567", "The number 1234567… has more than 6 digits"),
]


@pytest.mark.parametrize(("text", "at", "message"), REFUSED)
def test_refusal_names_position_and_reason(text: str, at: str, message: str) -> None:
    error = refusal(text)
    assert message in error.message
    assert text[error.position :].startswith(at)
    assert bool(at) or error.position in (0, len(text))


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\u202e", "\u200b", "\u00ad", "\x7f", "\ud800"])
def test_control_and_invisible_characters_are_refused(char: str) -> None:
    error = refusal(f"Issue certificate for api{char}.example.com")
    assert (error.position, error.message) == (25, f"A control character (U+{ord(char):04X}) is in the text")


def test_long_text_is_refused_by_bytes() -> None:
    text = "Issue certificate for " + "ä" * 2040
    assert "longer than 4096 bytes" in refusal(text).message


def test_bare_label_without_a_domain_is_refused() -> None:
    assert "your team has no default domain" in refusal("certificate for api", replace(DEFAULTS, domain="")).message


def test_dates_need_a_day_to_count_from() -> None:
    assert "An end date is not possible here" in refusal("certificate for api until 2027-01-31", replace(DEFAULTS, today=None)).message
    assert "Months and years are not possible here" in refusal("certificate for api for 3 months", replace(DEFAULTS, today=None)).message


def test_smaller_order_limit_counts() -> None:
    error = refusal("certificates for api-{1..11}", replace(DEFAULTS, max_items=10))
    assert error.message == "11 certificates are more than the 10 of one order"


def test_hostile_texts_are_refused_quickly() -> None:
    hostile = [
        "certificates for " + "{1..9}" * 600,
        "certificates for " + "{a,b}" * 800,
        "certificates for " + "x " * 2000,
        "certificate for " + "a." * 2000,
        "'" * 4000,
        "{" * 4000,
        ".." * 2000,
        "1-" * 2000,
        "revoke " + "key " * 1000,
        "renew " + "new " * 1000,
        "certificates for " + ", ".join(f"{{1..{10**5}}}" for _ in range(300)),
    ]
    start = time.monotonic()
    for text in hostile:
        refusal(text)
    assert time.monotonic() - start < 10


def test_refused_message_does_not_echo_a_long_word() -> None:
    assert len(refusal("Issue certificate for api " + "x" * 3000).message) < 3200


def test_same_text_gives_the_same_plan() -> None:
    text = "Issue certificates for api-1 through api-10, all RSA 4096, 3 months"
    assert parse(text, DEFAULTS) == understood(text)
