"""The batch steps: each takes request ids, does what is ready among them and leaves the rest. Safe to run again at any time.

An external act has three beats: a short transaction that notes the intent, the act with no transaction open, and a short
transaction that compares, sets and records. Between them a worker may die, stall or be overtaken.
"""

from certs.issuance.steps.ca_submit import Unavailable, submit_to_ca
from certs.issuance.steps.csr import create_csrs
from certs.issuance.steps.inventory import record_inventory
from certs.issuance.steps.key import ensure_keys
from certs.issuance.steps.policy import check_policy

__all__ = ["Unavailable", "check_policy", "create_csrs", "ensure_keys", "record_inventory", "submit_to_ca"]
