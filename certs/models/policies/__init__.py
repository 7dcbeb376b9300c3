"""What the policy did, and would do, to requests and certificates."""
