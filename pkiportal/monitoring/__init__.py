"""For the operator's monitoring: liveness, readiness, metrics and the missed-run alarm."""
