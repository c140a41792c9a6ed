"""The settings of a namespace that all its calls share."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration as ProtoDuration

from larder_cache._engine.arguments import check_count, check_tags
from larder_cache._engine.counters import Counters
from larder_cache._engine.engine import Engine
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.codecs import Codec, codec_named
from larder_cache.durations import Duration, Forever, ttl_to_proto
from larder_cache.errors import DecodeError, EncodeError, LarderError
from larder_cache.names import encode_namespace
from larder_cache.results import NO_FACTS, Hit, Miss, Negative, Result, Stale
from larder_cache.typed import typed_codec

HIT, STALE, NEGATIVE = pb.OUTCOME_HIT, pb.OUTCOME_STALE, pb.OUTCOME_NEGATIVE


class Handle:
    """A namespace: its name, defaults, codec and counters."""

    __slots__ = (
        "codec",
        "counters",
        "engine",
        "name",
        "near",
        "opens",
        "tags",
        "timeout",
        "ttl",
    )

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        ttl: Duration | Forever | None = None,
        codec: Codec | str | None = None,
        type: Any = None,
        on_error: str | None = None,
        tags: Any = (),
        near: Any = None,
    ) -> None:
        options = engine.options
        if codec is not None and type is not None:
            raise TypeError("codec and type exclude each other")
        on_error = on_error or options.on_error
        if on_error not in ("open", "raise"):
            raise ValueError(f'on_error must be "open" or "raise", not {on_error!r}')
        self.engine = engine
        self.name = encode_namespace(options.namespace_prefix + name)
        self.ttl: ProtoDuration | None | bool = ttl_to_proto(ttl)
        self.codec: Codec = codec_named(codec) if type is None else typed_codec(type)
        self.opens = on_error == "open"
        self.tags = check_count(check_tags(tags))
        self.timeout = options.call_timeout
        self.counters: Counters = engine.counters_of(self.name)
        self.near = near

    def codec_for(self, type: Any) -> Codec:
        """The codec of a call that names a type, or that of the handle."""
        return self.codec if type is None else typed_codec(type)

    def ttl_for(self, ttl: Duration | Forever | None) -> ProtoDuration | None | bool:
        """The TTL of a write: None for the server's default, False for one that has passed."""
        return self.ttl if ttl is None else ttl_to_proto(ttl)

    def tags_for(self, tags: Any) -> tuple[str, ...]:
        """The tags of a write, with those of the handle."""
        if tags == () or tags is None:
            return self.tags
        checked = check_tags(tags)
        if self.tags:
            checked = tuple(dict.fromkeys(self.tags + checked))
        return check_count(checked)

    def encode(self, value: Any, codec: Codec | None = None) -> pb.Value:
        """The value of the wire. Raises `EncodeError`."""
        try:
            kind, content = (codec or self.codec).encode(value)
            return pb.Value(**{kind: content})  # type: ignore[arg-type]
        except EncodeError:
            raise
        except Exception as error:
            # Codecs of users and methods of values can raise anything.
            raise EncodeError(f"{type(error).__name__}: {error}") from error

    def result(self, codec: Codec, answer: Any, degraded: bool = False) -> Result[Any]:
        """The result of a GetResponse, a BatchGetResult or a Found, counted."""
        outcome = answer.outcome
        counters = self.counters
        if outcome == HIT or outcome == STALE:
            value = answer.value
            kind = value.WhichOneof("kind")
            try:
                if kind is None:
                    raise DecodeError("the value is of a kind that this release does not have")
                decoded = codec.decode(kind, getattr(value, kind))
            except Exception as error:  # noqa: BLE001
                # Codecs of users and pickles can raise anything.
                return self.undecodable(error, answer)
            if outcome == HIT:
                counters.hits += 1
                return Hit(decoded, answer, degraded=degraded)
            counters.stale += 1
            return Stale(decoded, answer, degraded=degraded)
        if outcome == NEGATIVE:
            counters.negatives += 1
            return Negative(None, answer, degraded=degraded)
        counters.misses += 1
        return Miss(None, NO_FACTS, degraded=degraded)

    def undecodable(self, error: Exception, facts: Any) -> Result[Any]:
        """A miss for a value that cannot be decoded."""
        self.counters.undecodable += 1
        self.counters.misses += 1
        if not isinstance(error, DecodeError):
            made = DecodeError(f"{type(error).__name__}: {error}")
            made.__cause__ = error
            error = made
        return Miss(None, facts, error=error)

    def opened(self, error: LarderError) -> bool:
        """Counts an error; whether the call goes on without the cache."""
        self.counters.errors += 1
        if self.opens and error.outage:
            self.counters.fail_open += 1
            return True
        return False
