"""The asyncio client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar, overload

from larder_cache._engine import operations
from larder_cache._engine.engine import Engine
from larder_cache._engine.session import Session, options_of
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.loops import LoopIo
from larder_cache._transport.stubs import Stubs
from larder_cache.aio_namespace import AsyncNamespace
from larder_cache.codecs import Codec
from larder_cache.durations import Duration, Forever, seconds
from larder_cache.options import OnError, Options, Preset, TokenSource
from larder_cache.results import Invalidated

if TYPE_CHECKING:
    from larder_cache.near import NearCache
    from larder_cache.testing import FakeLarder

V = TypeVar("V")

__all__ = ["AsyncClient"]

# Seconds that work in the background has left at `close`.
CLOSE_TIMEOUT = 5.0


class AsyncClient:
    """A connection to Larder for asyncio: one connection per event loop, made at its first call.

    `target` is `host:port`, `dns:///host:port`, `unix:path`, several addresses separated by commas,
    or a `FakeLarder`; by default it is `LARDER_ENDPOINT`, or else `127.0.0.1:50051`. `token`,
    `ca_file`, `cert_file` and `key_file` are those of `LARDER_TOKEN`, `LARDER_CA_FILE`,
    `LARDER_CERT_FILE` and `LARDER_KEY_FILE`. Times are durations: seconds, `timedelta`, or text
    such as `"250ms"`.

    - `preset`: `service`, `local`, `low_latency` or `lambda`; the numbers given replace its own.
    - `on_error`: `open` (reads are misses while the cache is away) or `raise`.
    - `namespace_prefix`: put before the name of every namespace.
    - `schema_version`: of what this program caches; programs of two versions share no entries.
    - `call_timeout`, `connect_timeout`, `wait` (of get_or_fetch), `fetch_margin` (added to it).
    - `keepalive_time`: of a ping after so much silence during calls, with `keepalive_timeout` for
      its answer. `max_idle`: a connection that was idle for longer is replaced.
    - `token`: text, or a callable that returns it, or it and the seconds for which it is valid.
      `allow_plaintext_token` permits to send it to another machine without TLS.
    - `tls`: TLS with the authorities of the system. `server_name`: the name in its certificate.
    - `max_receive_bytes`: the largest message that is accepted, 16 MiB.
    - `background_limit`: computations in the background at once, 16.
    - `user_agent`: put before that of the library. `telemetry`: spans and metrics, if OpenTelemetry
      is set up. `channel_options`: further arguments of gRPC's channels.
    """

    def __init__(
        self,
        target: str | FakeLarder | None = None,
        *,
        preset: Preset = "service",
        namespace_prefix: str = "",
        on_error: OnError = "open",
        token: TokenSource | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        tls: bool = False,
        server_name: str | None = None,
        allow_plaintext_token: bool = False,
        schema_version: str | None = None,
        call_timeout: Duration | None = None,
        connect_timeout: Duration | None = None,
        wait: Duration | None = None,
        fetch_margin: Duration | None = None,
        keepalive_time: Duration | None = None,
        keepalive_timeout: Duration | None = None,
        max_idle: Duration | None = None,
        max_receive_bytes: int | None = None,
        background_limit: int | None = None,
        user_agent: str | None = None,
        telemetry: bool = True,
        channel_options: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        given = {name: value for name, value in locals().items() if name in _OPTIONS}
        options, fake = options_of(target, preset, given)
        self._io = LoopIo(options, fake)
        self._engine = Engine(options, self._io)
        self._session = Session(self._engine, blocking=False)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "an AsyncClient cannot be copied to another process: make one there, or use "
            "default_async_client()"
        )

    @property
    def options(self) -> Options:
        """The options, with those of the preset and of the environment."""
        return self._engine.options

    @property
    def stubs(self) -> Stubs:
        """The generated stubs: `stubs.cache` and `stubs.admin`."""
        return self._io.stubs

    @overload
    def namespace(
        self,
        name: str,
        *,
        ttl: Duration | Forever | None = None,
        codec: Codec | str | None = None,
        type: type[V],
        on_error: OnError | None = None,
        near_cache: NearCache | bool | None = None,
        tags: Iterable[str] = (),
    ) -> AsyncNamespace[V]: ...
    @overload
    def namespace(
        self,
        name: str,
        *,
        ttl: Duration | Forever | None = None,
        codec: Codec | str | None = None,
        type: Any = None,
        on_error: OnError | None = None,
        near_cache: NearCache | bool | None = None,
        tags: Iterable[str] = (),
    ) -> AsyncNamespace[Any]: ...
    def namespace(
        self,
        name: str,
        *,
        ttl: Duration | Forever | None = None,
        codec: Codec | str | None = None,
        type: Any = None,
        on_error: OnError | None = None,
        near_cache: NearCache | bool | None = None,
        tags: Iterable[str] = (),
    ) -> AsyncNamespace[Any]:
        """The namespace of a name. It is cheap, and the same object for the same settings.

        `ttl` and `tags` are those of writes that give none; the tags of a write are added. `type`
        is that of the values: a dataclass, a pydantic model, a TypedDict; `codec` a codec or its
        name. `near_cache` keeps values in the process.
        """
        settings = {
            "ttl": ttl,
            "codec": codec,
            "type": type,
            "on_error": on_error,
            "tags": tags if isinstance(tags, (str, list)) else tuple(tags),
        }
        namespace: AsyncNamespace[Any] = self._session.namespace(
            AsyncNamespace, name, settings, near_cache
        )
        return namespace

    async def connect(self, timeout: Duration | None = None) -> None:
        """Connects now. Raises `Unavailable` if that takes longer than `timeout`."""
        limit = self.options.connect_timeout if timeout is None else seconds(timeout, "timeout")
        await self._io.connect(limit)

    async def publish_event(
        self, name: str, attributes: Mapping[str, str] | None = None
    ) -> Invalidated:
        """Invalidates what the rules of the server select for an event."""
        return await operations.publish_event(self._engine, name, attributes)

    async def stats(self, namespaces: Iterable[str] = ()) -> pb.StatsResponse:
        """The statistics of the fleet: of the namespaces, or of all."""
        return await operations.stats(self._engine, namespaces)

    def counters(self, namespace: str | None = None) -> dict[str, int]:
        """Numbers of events in this client, such as `hits`: of a namespace, or of all.

        The first 1,000 namespaces have counters of their own, the others those of `_other`.
        """
        return self._engine.counted(namespace)

    async def close(self, timeout: Duration = CLOSE_TIMEOUT) -> None:
        """Closes the client. Computations in the background have `timeout` left.

        It can be repeated. A call after it raises `ClientClosed`.
        """
        if self._engine.near_hub is not None:
            self._engine.near_hub.close()
        await self._io.close(seconds(timeout, "timeout"))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._io.closed

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.options.target!r})"


_OPTIONS = frozenset(Options.__dataclass_fields__) - {"target"}
