"""Issuance: what keeps orders at CAs correct under faults."""
