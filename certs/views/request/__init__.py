"""Pages of requests: the request form, the plan, the list and the progress of one request."""
