"""Facts about requests, for the policy engine and the requester."""
