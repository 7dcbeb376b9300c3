"""What is known about a request: the facts that the policy engine and the requester are given."""
