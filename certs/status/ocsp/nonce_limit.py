"""Limit the responses with a nonce for each client: each costs a signature, and none can be served
from a cache.
"""

from __future__ import annotations

import threading
from datetime import datetime

from django.conf import settings

MAX_CLIENTS = 20_000


class _Nonces:
    """A count by client and minute, in this process."""

    def __init__(self) -> None:
        self._minute, self.counts, self._lock = 0, dict[str, int](), threading.Lock()

    def allowed(self, client: str, now: datetime) -> bool:
        """Return whether this client gets a response with its nonce now.

        Beyond the limit the nonce is ignored, as RFC 9919 2.2.2 lets a responder do, and a kept response serves.
        """
        # Emptied when there are too many clients: an attacker with many addresses costs signatures, never memory.
        minute = int(now.timestamp()) // 60
        with self._lock:
            if minute != self._minute or len(self.counts) > MAX_CLIENTS:
                self._minute, self.counts = minute, {}
            count = self.counts[client] = self.counts.get(client, 0) + 1
        return count <= settings.PKI_OCSP_NONCES_PER_MINUTE


nonces = _Nonces()
