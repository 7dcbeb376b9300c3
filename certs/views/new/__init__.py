"""New certificate: where it will be used, the draft at its own address, the plan, and then the request."""
