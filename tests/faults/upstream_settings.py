"""The test settings of a worker that knows a second CA, over the network (PKI_TEST_UPSTREAM)."""

from __future__ import annotations

import json
import os

from pkiportal.settings.test import *  # noqa: F403
from pkiportal.settings.test import CA_CLIENTS

CLIENT = "certs.ca.vault_pki.VaultPKIClient"
CA_CLIENTS = {
    **CA_CLIENTS,
    "Upstream": {"CLIENT": CLIENT, "OPTIONS": json.loads(os.environ["PKI_TEST_UPSTREAM"])},
}
