"""Redis, the replicas of Larder on it, and the three services."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .endpoints import EXPRESS, FASTAPI, FLASK
from .processes import Process, free_port, is_ok

APPS = Path(__file__).resolve().parent.parent

#: Seconds for which services keep idle connections: longer than the driver does, so that no request
#: is sent on a connection that is being closed.
KEEP_ALIVE = 75

#: Threads and workers of the Flask service: enough for all users while the cache is away.
FLASK_WORKERS, FLASK_THREADS = 2, 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the run keeps its files, and how slow the database is."""

    folder: Path
    larder: Path
    delay_scale: float
    replicas: int

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "app.db"

    @property
    def query_log(self) -> Path:
        """A line for each query of the services."""
        return self.folder / "queries.log"


class Fleet:
    """All processes. They keep their ports when they are started again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.redis = self._redis()
        self.replicas = [self._replica(n) for n in range(1, settings.replicas + 1)]

    async def start(self) -> None:
        """Starts Redis and the replicas."""
        self.redis.start()
        await self.redis.ready()
        await start_all(self.replicas)

    def stop(self) -> None:
        """Ends the replicas and Redis."""
        for process in (*self.replicas, self.redis):
            process.stop()

    def services(
        self, *, cache: bool, ports: Mapping[str, int] | None = None
    ) -> dict[str, Process]:
        """The services, not started, with the cache or without it, on these ports or free ones."""
        suffix = "" if cache else "-without-cache"
        python = sys.executable
        commands = {
            FASTAPI: lambda port: [
                python, "-m", "uvicorn", "fastapi_app.main:app", "--host", "127.0.0.1",
                "--port", str(port), "--log-level", "warning",
                "--timeout-keep-alive", str(KEEP_ALIVE),
            ],
            FLASK: lambda port: [
                python, "-m", "gunicorn", "flask_app.main:app", "--bind", f"127.0.0.1:{port}",
                "--workers", str(FLASK_WORKERS), "--threads", str(FLASK_THREADS),
                "--log-level", "warning", "--keep-alive", str(KEEP_ALIVE),
            ],
            EXPRESS: lambda port: ["node", "express_app/server.js"],
        }  # fmt: skip
        return {
            name: Process(
                f"{name}{suffix}",
                command,
                port=None if ports is None else ports[name],
                folder=APPS,
                log=self._settings.folder / f"{name}{suffix}.log",
                environment=lambda port: {
                    "PORT": str(port),
                    "CACHE_ENABLED": str(cache).lower(),
                    "APP_DATABASE": str(self._settings.database),
                    "QUERY_LOG": str(self._settings.query_log),
                    "DELAY_SCALE": str(self._settings.delay_scale),
                    "LARDER_ENDPOINT": ",".join(r.address for r in self.replicas),
                },
            )
            for name, command in commands.items()
        }

    def _redis(self) -> Process:
        folder = self._settings.folder / "redis"
        folder.mkdir(parents=True, exist_ok=True)
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("redis-server is not installed")
        # It keeps its data, and evicts the entries that are least used.
        return Process(
            "redis",
            lambda port: [
                binary, "--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes",
                "--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru", "--save", "",
            ],
            folder=folder,
            log=self._settings.folder / "redis.log",
        )  # fmt: skip

    def _replica(self, number: int) -> Process:
        folder = self._settings.folder
        admin = free_port()
        return Process(
            f"larder {number}",
            lambda port: [str(self._settings.larder), "--config", str(APPS / "larder.toml")],
            folder=folder,
            log=folder / f"larder-{number}.log",
            environment=lambda port: {
                "LARDER_LISTEN": f"127.0.0.1:{port}",
                "LARDER_ADMIN_LISTEN": f"127.0.0.1:{admin}",
                "LARDER_STORE__URL": f"redis://{self.redis.address}",
                # Keeps the invalidations of an outage of Redis until it is back.
                "LARDER_JOURNAL__PATH": str(folder / f"larder-{number}.journal"),
                "LARDER_LOG__FORMAT": "json",
            },
            # Its port accepts connections a little before it serves.
            is_ready=lambda port: is_ok(f"http://127.0.0.1:{admin}/readyz"),
        )


async def start_all(processes: Iterable[Process]) -> None:
    """Starts processes together, and waits until all are ready."""
    processes = list(processes)
    for process in processes:
        process.start()
    await asyncio.gather(*(process.ready() for process in processes))
