"""Defaults that the intake tests share."""

from __future__ import annotations

from datetime import date

from certs.errors import NotUnderstood
from certs.language.grammar import parse
from certs.spec import IntakeDefaults, IssuePlan, Plan

TODAY = date(2026, 11, 24)
DEFAULTS = IntakeDefaults(domain="example.com", today=TODAY)


def understood(text: str, defaults: IntakeDefaults = DEFAULTS) -> Plan:
    return parse(text, defaults)


def issued(text: str, defaults: IntakeDefaults = DEFAULTS) -> IssuePlan:
    plan = parse(text, defaults)
    assert isinstance(plan, IssuePlan)
    return plan


def refusal(text: str, defaults: IntakeDefaults = DEFAULTS) -> NotUnderstood:
    """The refusal of a text; its example must itself be understood, whatever was asked."""
    try:
        plan = parse(text, defaults)
    except NotUnderstood as error:
        parse(error.example, DEFAULTS)
        return error
    raise AssertionError(f"{text!r} was understood as {plan}")
