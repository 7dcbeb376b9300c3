"""`python -m bench [PART ...]`: run the named parts (default: all) beside the private servers, and print tables."""

from __future__ import annotations

import sys

from bench import machine, portal

PARTS = ("single", "rates", "http", "peers", "bulk", "bulk-vault", "memory", "crl", "ocsp", "report", "replay", "inventory", "pages")


def main(names: list[str]) -> int:
    wanted = names or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        print(f"There is no benchmark {unknown[0]}; choose from {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    machine.describe()
    with portal.prepared():
        from bench.parts import (  # noqa: PLC0415 - Django must be set up first
            bulk,
            crl,
            http,
            inventory,
            memory,
            ocsp,
            pages,
            peers,
            rates,
            replay,
            report,
            single,
        )

        parts = {
            "single": single.run,
            "rates": rates.run,
            "http": http.run,
            "peers": peers.run,
            "bulk": bulk.run,
            "bulk-vault": bulk.run_vault,
            "memory": memory.run,
            "crl": crl.run,
            "ocsp": ocsp.run,
            "report": report.run,
            "pages": pages.run,
            "replay": replay.run,
            "inventory": inventory.run,
        }
        for name in wanted:
            with portal.for_one_part():
                parts[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
