"""What `make test` stands on: installs what is missing, starts private servers, runs the checks, stops what it started.

Standard library only (but for `plugin/`, which pytest loads): it runs before anything is installed.
"""
