"""Processes of the portal: workers, beat, the embedded server, and the output of commands."""
