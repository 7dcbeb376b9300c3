"""gunicorn with exactly one web process, which also runs the worker and beat: the embedded way to serve."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication

from pkiportal.processes import embedded


class EmbeddedServer(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """One worker of many threads: the memory queue lives in that process, so a second one would not see its messages."""

    def __init__(self, host: str, port: int, threads: int) -> None:
        self.address, self.threads = f"{host}:{port}", threads
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": [self.address],
            "workers": 1,
            "worker_class": "gthread",
            "threads": self.threads,
            "timeout": 60,
            "graceful_timeout": 10,
            "loglevel": "warning",
            "post_worker_init": lambda _worker: embedded.start(beat=True),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from pkiportal.wsgi import application  # noqa: PLC0415 - it loads the apps, which only a worker process needs

        return application


def serve_embedded(host: str, port: int, threads: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    EmbeddedServer(host, port, threads).run()
