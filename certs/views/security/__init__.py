"""Security pages: alerts, machinery, register and compliance reports."""
