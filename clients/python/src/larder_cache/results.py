"""Results of calls. A read is a `Hit`, `Stale`, `Negative` or `Miss`; `match` works on all."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, NamedTuple, NoReturn, Protocol, TypeVar, overload

from larder_cache._engine.arguments import check_loaded_tags
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.durations import Duration, Forever, seconds, to_seconds

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")

__all__ = [
    "Deleted",
    "Hit",
    "Incremented",
    "Invalidated",
    "ListedKey",
    "Loaded",
    "Miss",
    "Negative",
    "NotStored",
    "Patched",
    "Result",
    "Stale",
    "Stored",
    "Touched",
]

_TIERS = {pb.TIER_NEAR: "near", pb.TIER_STORE: "store", pb.TIER_ORIGIN: "origin"}


class Facts(NamedTuple):
    """The facts of an entry besides its value."""

    version: str = ""
    age: float = 0.0
    ttl_remaining: float = 0.0
    tags: tuple[str, ...] = ()
    tier: str = ""


NO_FACTS = Facts()


def facts_of(entry: pb.EntryInfo) -> Facts:
    """The facts of an entry of the wire."""
    return Facts(
        entry.version,
        to_seconds(entry.age),
        to_seconds(entry.ttl_remaining),
        tuple(entry.tags),
        _TIERS.get(entry.tier, ""),
    )


class LaterFacts(Protocol):
    """Facts that are put together when they are asked for."""

    def facts(self) -> Facts:
        """The facts."""
        ...


class HasEntry(Protocol):
    """An answer of the wire."""

    @property
    def entry(self) -> pb.EntryInfo:
        """The facts of the wire."""
        ...


class Result(Generic[T_co]):
    """The result of a read. It is true if it has a value, also if the value is 0 or None.

    `age` and `ttl_remaining` are seconds. `tier` is `near` (the server's near cache), `store`,
    `origin`, `client` (the client's near cache), `loader`, or empty. `degraded`: the
    cache could not answer as usual; `error` is why. `stored` is the result of the fill if a loader
    ran. `joined`: another call of this process computed the value.
    """

    # Facts that are rarely set are attributes of the class, so that a hit is cheap to make.
    __slots__ = ("__dict__", "_facts", "value")
    __match_args__ = ("value",)

    outcome: ClassVar[str] = ""
    found: ClassVar[bool] = False

    value: T_co
    degraded: bool = False
    error: Exception | None = None
    stored: Stored | NotStored | None = None
    joined: bool = False

    def __init__(
        self,
        value: T_co = None,  # type: ignore[assignment]
        facts: Facts | LaterFacts | HasEntry = NO_FACTS,
        *,
        degraded: bool = False,
        error: Exception | None = None,
        stored: Stored | NotStored | None = None,
        joined: bool = False,
    ) -> None:
        self.value = value
        self._facts: Facts | LaterFacts | HasEntry = facts
        if degraded:
            self.degraded = degraded
        if error is not None:
            self.error = error
        if stored is not None:
            self.stored = stored
        if joined:
            self.joined = joined

    def _known(self) -> Facts:
        facts = self._facts
        if type(facts) is Facts:
            return facts
        entry = getattr(facts, "entry", None)
        known = facts.facts() if entry is None else facts_of(entry)  # type: ignore[union-attr]
        self._facts = known
        return known

    @property
    def version(self) -> str:
        """Id of the value, for `if_version`. Empty if it is not in the store."""
        return self._known().version

    @property
    def age(self) -> float:
        """Seconds since the value was written."""
        return self._known().age

    @property
    def ttl_remaining(self) -> float:
        """Seconds until the entry becomes stale."""
        return self._known().ttl_remaining

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the entry, sorted."""
        return self._known().tags

    @property
    def tier(self) -> str:
        """Where the value comes from."""
        return self._known().tier

    def __bool__(self) -> bool:
        return self.found

    @overload
    def value_or(self, default: None = None) -> T_co | None: ...
    @overload
    def value_or(self, default: D) -> T_co | D: ...
    def value_or(self, default: Any = None) -> Any:
        """The value, or `default` if there is none."""
        return self.value if self.found else default

    def unwrap(self) -> T_co:
        """The value. Raises `KeyError` if there is none."""
        if self.found:
            return self.value
        self._raise()

    def _raise(self) -> NoReturn:
        raise KeyError(f"no value: {self!r}") from self.error

    def with_joined(self) -> Result[T_co]:
        """The same result for a call that joined the computation."""
        return type(self)(
            self.value,
            self._facts,
            degraded=self.degraded,
            error=self.error,
            stored=self.stored,
            joined=True,
        )

    def __repr__(self) -> str:
        facts = self._known()
        shown = [f"value={self.value!r}"] if self.found else []
        shown += [f"{name}={value!r}" for name, value in facts._asdict().items() if value]
        shown += [
            f"{name}={value!r}"
            for name in ("degraded", "error", "stored", "joined")
            if (value := getattr(self, name))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class Hit(Result[T_co]):
    """A fresh value."""

    __slots__ = ()
    outcome = "HIT"
    found = True


class Stale(Result[T_co]):
    """A value past its TTL, within the windows of the namespace and of the call."""

    __slots__ = ()
    outcome = "STALE"
    found = True


class Negative(Result[T_co]):
    """The cached absence of a value."""

    __slots__ = ()
    outcome = "NEGATIVE"


class Miss(Result[T_co]):
    """No value."""

    __slots__ = ()
    outcome = "MISS"


class Loaded(Generic[T]):
    """The return of a loader: a value with the TTL and the tags of its entry.

    `store=False`: the value must not be cached.
    """

    __slots__ = ("store", "tags", "ttl", "value")

    def __init__(
        self,
        value: T,
        ttl: Duration | Forever | None = None,
        tags: tuple[str, ...] | list[str] = (),
        store: bool = True,
    ) -> None:
        if ttl is not None and not isinstance(ttl, Forever):
            seconds(ttl, "ttl")
        self.value = value
        self.ttl = ttl
        self.tags = check_loaded_tags(tags)
        self.store = store

    def __repr__(self) -> str:
        return f"Loaded({self.value!r}, ttl={self.ttl!r}, tags={self.tags!r}, store={self.store})"


class Stored(NamedTuple):
    """The value is stored. `ttl` is the TTL applied, in seconds."""

    version: str = ""
    ttl: float = 0.0

    def __bool__(self) -> bool:
        return True


class NotStored(NamedTuple):
    """The value is not stored, for a reason such as `CONDITION_NOT_MET`."""

    reason: str
    degraded: bool = False
    error: Exception | None = None

    def __bool__(self) -> bool:
        return False


class Deleted(NamedTuple):
    """The result of a delete. It is true if an entry was removed.

    `removed` is the entry, if it was asked for. `queued`: the deletion is in the server's
    journal and will be applied; whether there was an entry is not known then.
    """

    existed: bool
    deleted: bool
    removed: Result[Any] | None = None
    queued: bool = False

    def __bool__(self) -> bool:
        return self.deleted


class Touched(NamedTuple):
    """The result of a touch. It is true if there was a fresh entry. `ttl` is in seconds."""

    found: bool
    ttl: float = 0.0
    degraded: bool = False
    error: Exception | None = None

    def __bool__(self) -> bool:
        return self.found


class Incremented(NamedTuple):
    """The sum of a counter; None if there is no counter and none may be created."""

    value: int | None
    version: str = ""
    ttl_remaining: float = 0.0

    def __bool__(self) -> bool:
        return self.value is not None


class Patched(NamedTuple):
    """The result of a patch. It is true if the patch was applied.

    `result` is `APPLIED`, `MISSING` or `CONDITION_NOT_MET`. `ttl` is in seconds.
    """

    result: str
    version: str = ""
    ttl: float = 0.0

    def __bool__(self) -> bool:
        return self.result == "APPLIED"


class Invalidated(NamedTuple):
    """The result of an invalidation: one answer of the server per target, in the order given."""

    targets: tuple[pb.TargetResult, ...] = ()
    events: tuple[pb.EventResult, ...] = ()
    queued: bool = False

    def __bool__(self) -> bool:
        return True


class ListedKey(NamedTuple):
    """A key of a namespace, and the digest of its params (empty without params)."""

    key: str
    params_digest: str = ""
