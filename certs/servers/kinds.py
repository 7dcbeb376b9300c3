"""Places where certificates are used, and the server software that the portal knows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """Where a certificate is used. It decides where the key is made."""

    SERVER = "server"
    AUTOMATIC = "automatic"
    JAVA = "java"
    CLIENT = "client"
    VAULT = "vault"
    CSR = "csr"


class Tool(StrEnum):
    """The program with which a person makes a key and a CSR."""

    OPENSSL = "openssl"
    POWERSHELL = "powershell"
    KEYTOOL = "keytool"

    @property
    def label(self) -> str:
        """The name of the program with the systems that have it."""
        return _TOOL_LABELS[self]


_TOOL_LABELS = {
    Tool.OPENSSL: "Linux, macOS (openssl)",
    Tool.POWERSHELL: "Windows (PowerShell)",
    Tool.KEYTOOL: "Java (keytool)",
}


@dataclass(frozen=True, slots=True)
class Server:
    """One kind of server software.

    `slug` names the snippet in `templates/snippets/servers/`. `words` are what people call the software in
    a request sentence. `folder` is where the snippet puts key and certificate. `amount` is what there is to do.
    """

    slug: str
    label: str
    place: Place
    tool: Tool
    words: tuple[str, ...]
    folder: str
    amount: str = "two files and one reload"


SERVERS = (
    Server("nginx", "nginx", Place.SERVER, Tool.OPENSSL, ("nginx",), "/etc/nginx/tls"),
    Server("apache", "Apache", Place.SERVER, Tool.OPENSSL, ("apache", "apache2", "httpd"), "/etc/apache2/tls"),
    Server("haproxy", "HAProxy", Place.SERVER, Tool.OPENSSL, ("haproxy",), "/etc/haproxy/tls"),
    Server("caddy", "Caddy", Place.SERVER, Tool.OPENSSL, ("caddy",), "/etc/caddy/tls"),
    Server(
        "tomcat", "Tomcat, Java", Place.JAVA, Tool.KEYTOOL, ("tomcat", "java", "keystore"), "/etc/tomcat/tls", "two files and one restart"
    ),
    Server("iis", "IIS, Windows", Place.JAVA, Tool.POWERSHELL, ("iis", "windows"), "", "one file and nothing to reload"),
    Server("mail", "Postfix, Dovecot", Place.SERVER, Tool.OPENSSL, ("postfix", "dovecot"), "/etc/ssl/mail"),
    Server("postgresql", "PostgreSQL", Place.SERVER, Tool.OPENSSL, ("postgresql", "postgres"), "/etc/postgresql/tls"),
)
CLIENT_PROFILE = "tls-client"
CLIENT = Server("client", "Client program", Place.CLIENT, Tool.OPENSSL, (), "~/tls", "two files and nothing to reload")
_BY_SLUG = {server.slug: server for server in (*SERVERS, CLIENT)}
_BY_WORD = {word: server for server in SERVERS for word in server.words}
_PLACES_BY_WORD = {
    "kubernetes": Place.AUTOMATIC,
    "k8s": Place.AUTOMATIC,
    "acme": Place.AUTOMATIC,
    "certbot": Place.AUTOMATIC,
    "device": Place.JAVA,
    "vault": Place.VAULT,
    "hsm": Place.VAULT,
    "pkcs11": Place.VAULT,
    "pkcs#11": Place.VAULT,
}
PLACE_WORDS = frozenset((*_BY_WORD, *_PLACES_BY_WORD))


def server_named(slug: str) -> Server | None:
    """Return the server of that slug; None for one that the portal does not know."""
    return _BY_SLUG.get(slug)


def amount_for(server: Server | None, profile: str) -> str:
    """Return in words what there is to do with a certificate of that profile. None: a server that was not named."""
    if profile == CLIENT_PROFILE:
        return CLIENT.amount
    return server.amount if server else SERVERS[0].amount


def place_of_word(word: str) -> tuple[Place, str]:
    """Return the place that a word of PLACE_WORDS names, and the slug of its server or "".

    Raises KeyError for any other word.
    """
    low = word.lower()
    server = _BY_WORD.get(low)
    return (server.place, server.slug) if server else (_PLACES_BY_WORD[low], "")


def servers_of(place: str) -> tuple[Server, ...]:
    """Return the servers to choose from at a place. A device may take any form of certificate."""
    if place == Place.CLIENT:
        return (CLIENT,)
    if place in (Place.SERVER, Place.JAVA):
        return SERVERS
    return ()
