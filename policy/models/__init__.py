"""The rows of policies, their versions, waivers, profiles, and the persons behind accounts."""

from policy.models.versions import (
    Person,
    Policy,
    PolicyVersion,
    PolicyVersionQuerySet,
    PolicyWithdrawal,
    Profile,
)
from policy.models.waivers import PolicyWaiver

__all__ = [
    "Person",
    "Policy",
    "PolicyVersion",
    "PolicyVersionQuerySet",
    "PolicyWaiver",
    "PolicyWithdrawal",
    "Profile",
]
