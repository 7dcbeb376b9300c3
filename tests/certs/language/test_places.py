"""Where the certificate is used, said in the sentence."""

from __future__ import annotations

import pytest

from certs.language.meaning import KEY_ELSEWHERE
from certs.servers.kinds import SERVERS
from tests.certs.language.examples import issued, refusal
from tests.certs.language.sentences import spell

SHOP = ("shop.example.com",)
# sentence, names, place, server
PLACES = [
    ("https for shop.example.com on nginx", SHOP, "server", "nginx"),
    ("I need https on shop.example.com on my nginx server", SHOP, "server", "nginx"),
    ("I need a certificate for shop.example.com on my nginx server", SHOP, "server", "nginx"),
    ("certificate for shop.example.com on our own Apache web server, 90 days", SHOP, "server", "apache"),
    ("certificate for shop.example.com for tomcat", SHOP, "java", "tomcat"),
    ("for tomcat a certificate for shop.example.com", SHOP, "java", "tomcat"),
    ("TLS for shop.example.com and www.example.com behind HAProxy with P-256", (*SHOP, "www.example.com"), "server", "haproxy"),
    ("nginx certificate for shop.example.com", SHOP, "server", "nginx"),
    ("postgres TLS certificate for shop.example.com", SHOP, "server", "postgresql"),
    ("certificate for shop.example.com in IIS on Windows", SHOP, "java", "iis"),
    ("certificate for shop.example.com on my server with nginx", SHOP, "server", "nginx"),
    ("certificate for shop.example.com on IIS", SHOP, "java", "iis"),
    ("certificate for shop.example.com on my server", SHOP, "server", ""),
    ("https for shop.example.com on a web server", SHOP, "server", ""),
    ("certificate for shop.example.com with key in the vault", SHOP, "vault", ""),
    ("certificate for shop.example.com through PKCS#11", SHOP, "vault", ""),
    ("certificate for shop.example.com via Vault, until 2027-01-31", SHOP, "vault", ""),
    ("certificate for shop.example.com on kubernetes", SHOP, "automatic", ""),
    ("certificate for shop.example.com on a device", SHOP, "java", ""),
    ("shop.example.com on nginx", SHOP, "server", "nginx"),
    ("certificates for a and b on nginx", ("a.example.com", "b.example.com"), "server", "nginx"),
    # Such a word is a host where it stands as one.
    ("certificate for nginx", ("nginx.example.com",), "", ""),
    ("certificate for tomcat and vault", ("tomcat.example.com", "vault.example.com"), "", ""),
    ('certificate for "nginx" on nginx', ("nginx.example.com",), "server", "nginx"),
    ("certificate for api-1 and nginx.example.com", ("api-1.example.com", "nginx.example.com"), "", ""),
    ("server certificate for vault.example.com", ("vault.example.com",), "", ""),
    ("https://shop.example.com:8443/basket on nginx", SHOP, "server", "nginx"),
]


@pytest.mark.parametrize(("text", "names", "place", "server"), PLACES)
def test_place_is_understood(text: str, names: tuple[str, ...], place: str, server: str) -> None:
    plan = issued(text)
    assert tuple(name for spec in plan.specs for name in spec.dns_names) == names
    assert (plan.place, plan.server) == (place, server)


def test_profile_is_what_the_sentence_says_whatever_the_place() -> None:
    """B9: no other purpose is read into it."""
    plan = issued("mTLS client certificate for billing")
    assert (plan.specs[0].profile, plan.specs[0].dns_names) == ("tls-client", ("billing.example.com",))
    assert issued("TLS client certificate for billing on nginx").specs[0].profile == "tls-client"


def test_two_places_are_refused() -> None:
    assert "Two places: 'nginx' and 'Apache'; say one" in refusal("certificate for shop on nginx on Apache").message


def test_key_that_a_server_needs_is_spoken_of() -> None:
    """B1: at channels that would make the key in the vault."""
    assert KEY_ELSEWHERE in issued("https for shop.example.com on nginx").notes
    assert KEY_ELSEWHERE not in issued("https for shop.example.com in the vault").notes


@pytest.mark.parametrize("where", ["on nginx", "on tomcat", "on my server", "on a device", "in the vault", "on kubernetes"])
def test_canonical_sentence_keeps_the_place(where: str) -> None:
    plan = issued(f"https for shop.example.com {where}")
    again = issued(spell(plan))
    assert (again.specs, again.place, again.server) == (plan.specs, plan.place, plan.server)


@pytest.mark.parametrize("word", [word for server in SERVERS for word in server.words])
def test_each_word_names_its_server(word: str) -> None:
    plan = issued(f"https for shop.example.com on {word.upper()}")
    assert word in next(server.words for server in SERVERS if server.slug == plan.server)


def test_example_of_a_refusal_is_made_of_what_was_typed() -> None:
    """B25."""
    assert refusal("shop.example.com").example == "Issue certificate for shop.example.com"
