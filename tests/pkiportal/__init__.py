"""Settings, machine endpoints, logs and the commands that run the whole portal."""
