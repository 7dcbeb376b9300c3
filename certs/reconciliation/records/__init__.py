"""Compare the tables with the audit log, one module for each kind of row."""
