"""CSV: encodings, separators, titles, and every column in people's spellings."""

from __future__ import annotations

import ipaddress
from datetime import date

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.spec import CertificateSpec
from certs.uploads.formats.detect import find
from certs.uploads.formats.table_rows import Row
from tests.certs.uploads.examples import DEFAULTS, KEY, KEY_NOTE, PROFILE_NOTE, RULES, VALIDITY_NOTE, csr, one, read, refusal

API = CertificateSpec("api.example.com", ("api.example.com",), (), "rsa-3072", 90, "tls-server")


def cell(column: str, text: str) -> bytes:
    """A table of one row with a name and one more column."""
    return f"name\t{column}\napi.example.com\t{text}\n".encode()


def test_a_row_becomes_a_line_with_every_assumption_told() -> None:
    line = one(b"name\napi.example.com\n")
    assert (line.number, line.source, line.spec, line.problem) == (2, "row 2", API, "")
    assert line.notes == (KEY_NOTE, VALIDITY_NOTE, PROFILE_NOTE)


def test_every_column_is_read_in_any_order_and_spelling() -> None:
    table = b'Team,Validity (days),KEY TYPE,Profile,Subject Alternative Names,CN\nweb-team,30,ECDSA P-384,client,"www, 10.0.0.1",api\n'
    line = one(table)
    assert line.spec == CertificateSpec(
        "api.example.com", ("api.example.com", "www.example.com"), ("10.0.0.1",), "ec-p384", 30, "tls-client"
    )
    assert (line.owner, line.problem) == ("web-team", "")
    assert line.notes == ("Completed with the default domain example.com: api.example.com, www.example.com",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_separators_and_line_ends(encoding: str, delimiter: str, end: str) -> None:
    text = end.join((f"name{delimiter}sans{delimiter}key", f"bücher{delimiter}a b{delimiter}P-256", ""))
    line = one(text.encode(encoding))
    assert line.spec is not None
    assert line.spec.dns_names == ("xn--bcher-kva.example.com", "a.example.com", "b.example.com")
    assert line.notes[1] == "bücher is written xn--bcher-kva.example.com in a certificate"


@pytest.mark.parametrize("separated", ["a b", "a,b", "a;b", "a\nb", " a ,\n b; ", "a,a,b,api"])
def test_sans_are_separated_as_people_do(separated: str) -> None:
    line = one(f'name\tsans\napi\t"{separated}"\n'.encode())
    assert line.spec is not None
    assert line.spec.dns_names == ("api.example.com", "a.example.com", "b.example.com")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("RSA 4096", "rsa-4096"),
        ("rsa-4096", "rsa-4096"),
        ("4096", "rsa-4096"),
        ("P-256", "ec-p256"),
        ("ECDSA P384", "ec-p384"),
        ("secp521r1", "ec-p521"),
        ("Ed25519", "ed25519"),
        ("ML-DSA-65", "ml-dsa-65"),
    ],
)
def test_keys_as_the_words_understand_them(text: str, key: str) -> None:
    spec = one(cell("key", text)).spec
    assert spec is not None
    assert spec.key == key


@pytest.mark.parametrize(
    ("text", "days"),
    [("90", 90), ("90 days", 90), ("90d", 90), ("2 weeks", 14), ("a year", date(2027, 11, 24)), ("until 2027-01-31", date(2027, 1, 31))],
)
def test_validities_as_the_words_understand_them(text: str, days: int | date) -> None:
    spec = one(cell("validity_days", text)).spec
    assert spec is not None
    assert (spec.validity_days or spec.not_after) == days


@pytest.mark.parametrize("text", ["tls-client", "TLS client", "client", "Tls_Client"])
def test_profiles_in_spellings(text: str) -> None:
    spec = one(cell("profile", text)).spec
    assert spec is not None
    assert spec.profile == "tls-client"


@pytest.mark.parametrize(
    ("column", "text", "problem"),
    [
        ("key", "RSA 1000", "RSA 1000 is not offered"),
        ("key", "RSA 4096, 90 days", "',' does not name a key"),
        ("key", "password", "'password' does not name a key"),
        ("validity_days", "9" * 400, "is more than 36500 days"),
        ("validity_days", "-5", "The validity must be at least one day, not '-5'"),
        ("validity_days", "0", "The validity must be at least one day"),
        ("validity_days", "90 days, RSA 2048", "'90 days, RSA 2048' is not a validity"),
        ("profile", "code-signing", "There is no profile 'code-signing'"),
        ("owner", "my team!", "This is no team"),
        ("sans", "https://api.example.com", "is not a host name"),
        ("sans", "=cmd()", "is not a host name"),
        ("sans", "*.*.example.com", "a wildcard is one * before the first dot"),
    ],
)
def test_a_bad_cell_is_told_with_its_column_and_spoils_only_its_row(column: str, text: str, problem: str) -> None:
    bad, good = read(cell(column, text) + b"www\t\n")
    assert (bad.spec, bad.field) == (None, column)
    assert problem in bad.problem
    assert good.spec is not None
    assert good.spec.common_name == "www.example.com"


def test_two_names_in_the_name_column_are_refused() -> None:
    line = one(b"name\napi.example.com www.example.com\n")
    assert line.problem == "'api.example.com www.example.com' is more than one name. Put one in the column name, the others in sans."


def test_row_without_any_name_is_told() -> None:
    line = one(b"name,key\n,RSA 4096\n")
    assert (line.spec, line.field, line.problem) == (None, "name", "The row names no host. Fill in name, sans or csr.")


def test_bare_label_without_a_default_domain_is_told() -> None:
    from dataclasses import replace  # noqa: PLC0415

    from certs.uploads.formats.detect import find, judge  # noqa: PLC0415
    from certs.uploads.limits import Limits, Rules  # noqa: PLC0415

    rules = Rules(replace(DEFAULTS, domain=""), (), Limits())
    (found,) = find(b"name\napi\n", rules)
    assert "your team has no default domain" in judge(found, rules).problem


def test_names_beyond_the_most_of_one_certificate() -> None:
    line = one(("name\tsans\napi\t" + " ".join(f"a{n}" for n in range(100)) + "\n").encode())
    assert (line.field, line.problem) == ("sans", "101 names are more than the 100 of one certificate. Spread them over several rows.")


def test_rows_are_numbered_as_a_spreadsheet_numbers_them() -> None:
    lines = read(b'\n# made by hand\nname,sans\n\n# not this one\na,"b\nc"\n,,\nd,\n')
    assert [line.number for line in lines] == [6, 8]


def test_a_failed_computation_in_the_first_cell_is_no_remark() -> None:
    line = one(b"name,key\n#N/A,RSA 4096\n")
    assert (line.spec, line.field) == (None, "name")


@pytest.mark.parametrize("row", [b"api,,stray\n", b"api,,,,,stray\n"])
def test_a_cell_under_no_title_is_told(row: bytes) -> None:
    line = one(b"name,key,\n" + row)
    assert (line.spec, line.field) == (None, "row")


def test_short_rows_and_a_trailing_separator_are_fine() -> None:
    assert [line.problem for line in read(b"name,key,sans,\napi,,,\nwww\n")] == ["", ""]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (b"name,colour\na,b\n", "There is no column 'colour'."),
        (b"name,cn\na,b\n", "Two columns mean name: 'name' and 'cn'."),
        (b"key,owner\nRSA,b\n", "No column says what to issue."),
        (b"name\n", "The table has no row beneath its titles."),
        (b'name,sans\napi,"a\n', "Row 2 cannot be read: it opens a quotation mark that is never closed."),
        (b'name,sans\napi,\nwww,"a"b\n', "Row 3 cannot be read: a quotation mark is in the middle of a cell."),
        (b"hello\nworld\n", "The file is neither a table nor CSRs."),
        (
            "name\nbücher\n".encode("cp1252"),
            (
                "It is not text in UTF-8 or UTF-16, nor another kind of file that is read here. "
                "The first character that is not in UTF-8 is in line 2."
            ),
        ),
        (b"name\nap\x00i\n", "It has NUL characters in it, the first in line 2, so it is no text."),
        (b" \n\n", "The file is empty."),
        (b"", "The file is empty."),
    ],
)
def test_a_table_that_is_of_no_use_as_a_whole(table: bytes, problem: str) -> None:
    assert refusal(table).message == problem


def test_titles_that_come_again_in_a_file_put_together_are_no_row() -> None:
    table = b"name,key\napi,P-256\nname,key\nwww,P-256\n"
    assert [(line.number, line.problem) for line in read(table)] == [(2, ""), (4, "")]


@pytest.mark.parametrize("key", ["key", "RSA 0", "RSA-0"])
def test_cell_that_names_no_key_that_there_is_gets_no_default(key: str) -> None:
    line = one(cell("key", key))
    assert (line.spec, line.field) == (None, "key")


def test_unknown_column_names_the_known_ones() -> None:
    assert refusal(b"name,colour\na,b\n").next_step.startswith("Known columns: name, sans, key, validity_days, profile, owner, csr.")


def test_rows_beyond_the_limit_refuse_the_file() -> None:
    table = b"name\n" + b"".join(b"h%d\n" % n for n in range(4))
    assert len(read(table, max_lines=4)) == 4
    assert refusal(table, max_lines=3).message == "The file asks for more than 3 certificates."


def brought(*columns: tuple[str, str], names: tuple[str, ...] = ("api.example.com", "www.example.com")) -> bytes:
    titles, cells = ["csr"], [csr(*names).decode()]
    for title, text in columns:
        titles.append(title)
        cells.append(text)
    return (",".join(titles) + "\n" + ",".join(f'"{text}"' for text in cells) + "\n").encode()


def test_a_csr_in_a_cell_gives_names_and_key() -> None:
    line = one(brought(("validity", "30")))
    assert line.spec is not None
    assert (line.spec.dns_names, line.spec.key, line.spec.validity_days) == (("api.example.com", "www.example.com"), "ec-p256", 30)
    assert line.spec.csr_der
    assert line.spec.spki_der
    assert line.notes == (PROFILE_NOTE,)


@pytest.mark.parametrize("columns", [("name", "api"), ("sans", "www api"), ("sans", "www"), ("key", "P-256")])
def test_columns_beside_a_csr_may_agree(columns: tuple[str, str]) -> None:
    assert one(brought(columns)).problem == ""


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (("name", "www"), "The CSR has api.example.com, this column something else."),
        (("sans", "www more"), "The CSR has api.example.com, www.example.com, this column something else."),
        (("key", "RSA 4096"), "The CSR has ECDSA P-256, this column something else."),
    ],
)
def test_columns_beside_a_csr_that_say_something_else(columns: tuple[str, str], says: str) -> None:
    line = one(brought(columns))
    assert (line.spec, line.field) == (None, columns[0])
    assert line.problem.startswith(says)


@pytest.mark.parametrize("title", ["name", "sans"])
def test_column_beside_a_csr_of_an_address_may_agree(title: str) -> None:
    address = ipaddress.ip_address("10.0.0.1")
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
    text = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    table = f'csr,{title}\n"{text}",{{}}\n'
    assert one(table.format(address).encode()).problem == ""
    assert one(table.format("10.0.0.2").encode()).problem.startswith("The CSR has 10.0.0.1, this column something else.")


def test_a_refused_csr_in_a_cell_is_told_with_its_class() -> None:
    line = one(brought(names=("api.elsewhere.test",)))
    assert (line.spec, line.problem_class, line.field) == (None, "forbidden_name", "san")


TITLES, CELLS = ["name", "sans", "key", "validity_days"], ["a1.example.com", "", "P-256", "90"]
READABLE = {
    "a line that names the separator": "sep=;\r\nname;sans;key;validity_days\r\na1.example.com;;P-256;90\r\n",
    "the same between quotation marks": '"sep=;"\nname;sans;key;validity_days\na1.example.com;;P-256;90\n',
    "the same in capitals with a tab": "SEP=\t\nname\tsans\tkey\tvalidity_days\na1.example.com\t\tP-256\t90\n",
    "a separator that nobody else uses": "sep=^\nname^sans^key^validity_days\na1.example.com^^P-256^90\n",
    "a separator line that does not fit": "sep=;\nname,sans,key,validity_days\na1.example.com,,P-256,90\n",
    "pipes": "name|sans|key|validity_days\na1.example.com||P-256|90\n",
    "old Macintosh line ends": "name,sans,key,validity_days\ra1.example.com,,P-256,90\r",
    "a separator line with old line ends": "sep=;\rname;sans;key;validity_days\ra1.example.com;;P-256;90\r",
    "quoted titles": '"name","sans","key","validity_days"\n"a1.example.com","","P-256","90"\n',
    "titles in capitals with blanks": " Name ,SANs, Key  Type ,VALIDITY (DAYS)\na1.example.com,,P-256,90\n",
    "titles with no-break spaces": "Common\u00a0Name,SANs,Key\u00a0Type,Valid\u00a0for\na1.example.com,,P-256,90\n",
    "empty columns at the end": "name,sans,key,validity_days,,,\na1.example.com,,P-256,90,,,\n",
    "more separators in a row than titles": "name,sans,key,validity_days\na1.example.com,,P-256,90,,,\n",
    "two marks at the beginning": "\ufeff\ufeffname,sans,key,validity_days\na1.example.com,,P-256,90\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_tables_as_programs_write_them(encoding: str) -> None:
    """B5: separators, marks, line ends, quotation marks and titles."""
    for what, text in READABLE.items():
        (row,) = found(text.encode(encoding))
        assert (what, row.number, row.cells[:4]) == (what, 2, tuple(CELLS))


def test_a_long_table_with_old_line_ends_is_read() -> None:
    """B5: its lines are counted by the same line ends as its rows."""
    rows = found("\r".join(["name", *(f"host-{number}.example.com" for number in range(8000))]).encode())
    assert len(rows) == 8000


def found(data: bytes) -> list[Row]:
    return [row for row in find(data, RULES) if isinstance(row, Row)]
