"""One worker of a replay: `python -m bench.replay_once PK`, run by bench.parts.replay. Prints its peak memory in MB."""

from __future__ import annotations

import resource
import sys

import django

django.setup()

from certs.models import PolicyReplay  # noqa: E402 - Django first
from certs.replay import jobs  # noqa: E402


def main() -> None:
    pk = int(sys.argv[1])
    while jobs.work_on(pk) and PolicyReplay.objects.filter(pk=pk, state=PolicyReplay.State.RUNNING).exists():
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


main()
