from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from larder_cache._gen import cache_service_pb2 as _cache_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HistorySpan(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HISTORY_SPAN_UNSPECIFIED: _ClassVar[HistorySpan]
    HISTORY_SPAN_HOUR: _ClassVar[HistorySpan]
    HISTORY_SPAN_DAY: _ClassVar[HistorySpan]
    HISTORY_SPAN_WEEK: _ClassVar[HistorySpan]
HISTORY_SPAN_UNSPECIFIED: HistorySpan
HISTORY_SPAN_HOUR: HistorySpan
HISTORY_SPAN_DAY: HistorySpan
HISTORY_SPAN_WEEK: HistorySpan

class WarmRequest(_message.Message):
    __slots__ = ("namespace", "keys", "refresh", "rate")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REFRESH_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    keys: _containers.RepeatedCompositeFieldContainer[WarmKey]
    refresh: bool
    rate: int
    def __init__(self, namespace: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[WarmKey, _Mapping]]] = ..., refresh: bool = ..., rate: _Optional[int] = ...) -> None: ...

class WarmKey(_message.Message):
    __slots__ = ("key", "params")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    key: str
    params: _containers.ScalarMap[str, str]
    def __init__(self, key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ...) -> None: ...

class WarmResponse(_message.Message):
    __slots__ = ("total", "done", "stored", "fresh", "not_stored", "failed", "last_error", "took")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    NOT_STORED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    TOOK_FIELD_NUMBER: _ClassVar[int]
    total: int
    done: int
    stored: int
    fresh: int
    not_stored: int
    failed: int
    last_error: str
    took: _duration_pb2.Duration
    def __init__(self, total: _Optional[int] = ..., done: _Optional[int] = ..., stored: _Optional[int] = ..., fresh: _Optional[int] = ..., not_stored: _Optional[int] = ..., failed: _Optional[int] = ..., last_error: _Optional[str] = ..., took: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListNamespacesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNamespacesResponse(_message.Message):
    __slots__ = ("namespaces", "next_page_token", "degraded")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceSummary]
    next_page_token: str
    degraded: bool
    def __init__(self, namespaces: _Optional[_Iterable[_Union[NamespaceSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., degraded: bool = ...) -> None: ...

class NamespaceSummary(_message.Message):
    __slots__ = ("namespace", "configured", "policy", "size", "counted")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    configured: bool
    policy: NamespacePolicy
    size: _cache_service_pb2.NamespaceSize
    counted: _cache_service_pb2.Counters
    def __init__(self, namespace: _Optional[str] = ..., configured: bool = ..., policy: _Optional[_Union[NamespacePolicy, _Mapping]] = ..., size: _Optional[_Union[_cache_service_pb2.NamespaceSize, _Mapping]] = ..., counted: _Optional[_Union[_cache_service_pb2.Counters, _Mapping]] = ...) -> None: ...

class NamespacePolicy(_message.Message):
    __slots__ = ("ttl", "max_ttl", "ttl_jitter", "max_value_bytes", "stale_while_revalidate", "stale_if_error", "lease_ttl", "has_origin", "near_cache_bytes")
    TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    TTL_JITTER_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STALE_WHILE_REVALIDATE_FIELD_NUMBER: _ClassVar[int]
    STALE_IF_ERROR_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    HAS_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NEAR_CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    max_ttl: _duration_pb2.Duration
    ttl_jitter: float
    max_value_bytes: int
    stale_while_revalidate: _duration_pb2.Duration
    stale_if_error: _duration_pb2.Duration
    lease_ttl: _duration_pb2.Duration
    has_origin: bool
    near_cache_bytes: int
    def __init__(self, ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ttl_jitter: _Optional[float] = ..., max_value_bytes: _Optional[int] = ..., stale_while_revalidate: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale_if_error: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., lease_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., has_origin: bool = ..., near_cache_bytes: _Optional[int] = ...) -> None: ...

class AdminServiceListKeysRequest(_message.Message):
    __slots__ = ("namespace", "glob", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GLOB_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    glob: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., glob: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class AdminServiceListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[_cache_service_pb2.ListedKey]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[_cache_service_pb2.ListedKey, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class InspectEntryRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "params_digest")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    params_digest: str
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., params_digest: _Optional[str] = ...) -> None: ...

class InspectEntryResponse(_message.Message):
    __slots__ = ("entry", "lease", "near_version", "tier")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    NEAR_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    entry: InspectedEntry
    lease: InspectedLease
    near_version: str
    tier: _cache_service_pb2.Tier
    def __init__(self, entry: _Optional[_Union[InspectedEntry, _Mapping]] = ..., lease: _Optional[_Union[InspectedLease, _Mapping]] = ..., near_version: _Optional[str] = ..., tier: _Optional[_Union[_cache_service_pb2.Tier, str]] = ...) -> None: ...

class InspectedEntry(_message.Message):
    __slots__ = ("kind", "value_bytes", "stored_bytes", "version", "tags", "age", "ttl_remaining", "stale_while_revalidate", "stale_if_error", "expires_in", "outcome", "invalidated", "etag", "ban_sequence", "bans", "revalidation_window")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    TTL_REMAINING_FIELD_NUMBER: _ClassVar[int]
    STALE_WHILE_REVALIDATE_FIELD_NUMBER: _ClassVar[int]
    STALE_IF_ERROR_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    BAN_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BANS_FIELD_NUMBER: _ClassVar[int]
    REVALIDATION_WINDOW_FIELD_NUMBER: _ClassVar[int]
    kind: str
    value_bytes: int
    stored_bytes: int
    version: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    age: _duration_pb2.Duration
    ttl_remaining: _duration_pb2.Duration
    stale_while_revalidate: _duration_pb2.Duration
    stale_if_error: _duration_pb2.Duration
    expires_in: _duration_pb2.Duration
    outcome: _cache_service_pb2.Outcome
    invalidated: bool
    etag: str
    ban_sequence: int
    bans: _containers.RepeatedCompositeFieldContainer[InspectedBan]
    revalidation_window: _duration_pb2.Duration
    def __init__(self, kind: _Optional[str] = ..., value_bytes: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., version: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ttl_remaining: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale_while_revalidate: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale_if_error: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., expires_in: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., outcome: _Optional[_Union[_cache_service_pb2.Outcome, str]] = ..., invalidated: bool = ..., etag: _Optional[str] = ..., ban_sequence: _Optional[int] = ..., bans: _Optional[_Iterable[_Union[InspectedBan, _Mapping]]] = ..., revalidation_window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class InspectedBan(_message.Message):
    __slots__ = ("tag", "glob", "sequence")
    TAG_FIELD_NUMBER: _ClassVar[int]
    GLOB_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    tag: str
    glob: str
    sequence: int
    def __init__(self, tag: _Optional[str] = ..., glob: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class InspectedLease(_message.Message):
    __slots__ = ("state", "remaining", "cause")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[InspectedLease.State]
        STATE_HELD: _ClassVar[InspectedLease.State]
        STATE_VOIDED: _ClassVar[InspectedLease.State]
        STATE_BACKED_OFF: _ClassVar[InspectedLease.State]
        STATE_HELD_OFF: _ClassVar[InspectedLease.State]
    STATE_UNSPECIFIED: InspectedLease.State
    STATE_HELD: InspectedLease.State
    STATE_VOIDED: InspectedLease.State
    STATE_BACKED_OFF: InspectedLease.State
    STATE_HELD_OFF: InspectedLease.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    state: InspectedLease.State
    remaining: _duration_pb2.Duration
    cause: str
    def __init__(self, state: _Optional[_Union[InspectedLease.State, str]] = ..., remaining: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., cause: _Optional[str] = ...) -> None: ...

class HotKeysRequest(_message.Message):
    __slots__ = ("namespace", "window", "limit")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    window: _duration_pb2.Duration
    limit: int
    def __init__(self, namespace: _Optional[str] = ..., window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., limit: _Optional[int] = ...) -> None: ...

class HotKeysResponse(_message.Message):
    __slots__ = ("keys", "reads", "samples", "window", "replicas")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[HotKey]
    reads: int
    samples: int
    window: _duration_pb2.Duration
    replicas: int
    def __init__(self, keys: _Optional[_Iterable[_Union[HotKey, _Mapping]]] = ..., reads: _Optional[int] = ..., samples: _Optional[int] = ..., window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., replicas: _Optional[int] = ...) -> None: ...

class HotKey(_message.Message):
    __slots__ = ("key", "params_digest", "reads", "error", "share")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    key: str
    params_digest: str
    reads: int
    error: int
    share: float
    def __init__(self, key: _Optional[str] = ..., params_digest: _Optional[str] = ..., reads: _Optional[int] = ..., error: _Optional[int] = ..., share: _Optional[float] = ...) -> None: ...

class DistributionsRequest(_message.Message):
    __slots__ = ("namespace", "sample_size")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_SIZE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    sample_size: int
    def __init__(self, namespace: _Optional[str] = ..., sample_size: _Optional[int] = ...) -> None: ...

class DistributionsResponse(_message.Message):
    __slots__ = ("examined", "complete", "value_bytes", "key_bytes", "ttl_remaining", "age")
    EXAMINED_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEY_BYTES_FIELD_NUMBER: _ClassVar[int]
    TTL_REMAINING_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    examined: int
    complete: bool
    value_bytes: Distribution
    key_bytes: Distribution
    ttl_remaining: Distribution
    age: Distribution
    def __init__(self, examined: _Optional[int] = ..., complete: bool = ..., value_bytes: _Optional[_Union[Distribution, _Mapping]] = ..., key_bytes: _Optional[_Union[Distribution, _Mapping]] = ..., ttl_remaining: _Optional[_Union[Distribution, _Mapping]] = ..., age: _Optional[_Union[Distribution, _Mapping]] = ...) -> None: ...

class Distribution(_message.Message):
    __slots__ = ("unit", "buckets", "min", "max", "mean")
    class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNIT_UNSPECIFIED: _ClassVar[Distribution.Unit]
        UNIT_BYTES: _ClassVar[Distribution.Unit]
        UNIT_SECONDS: _ClassVar[Distribution.Unit]
    UNIT_UNSPECIFIED: Distribution.Unit
    UNIT_BYTES: Distribution.Unit
    UNIT_SECONDS: Distribution.Unit
    UNIT_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    unit: Distribution.Unit
    buckets: _containers.RepeatedCompositeFieldContainer[DistributionBucket]
    min: float
    max: float
    mean: float
    def __init__(self, unit: _Optional[_Union[Distribution.Unit, str]] = ..., buckets: _Optional[_Iterable[_Union[DistributionBucket, _Mapping]]] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., mean: _Optional[float] = ...) -> None: ...

class DistributionBucket(_message.Message):
    __slots__ = ("up_to", "entries")
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    up_to: float
    entries: int
    def __init__(self, up_to: _Optional[float] = ..., entries: _Optional[int] = ...) -> None: ...

class FlushNearCacheRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class FlushNearCacheResponse(_message.Message):
    __slots__ = ("entries", "bytes")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    entries: int
    bytes: int
    def __init__(self, entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class GetConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetConfigResponse(_message.Message):
    __slots__ = ("toml", "needs_restart", "server_version")
    TOML_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RESTART_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    toml: str
    needs_restart: _containers.RepeatedScalarFieldContainer[str]
    server_version: str
    def __init__(self, toml: _Optional[str] = ..., needs_restart: _Optional[_Iterable[str]] = ..., server_version: _Optional[str] = ...) -> None: ...

class PublishEventRequest(_message.Message):
    __slots__ = ("name", "attributes", "required_durability")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_DURABILITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    attributes: _containers.ScalarMap[str, str]
    required_durability: _cache_service_pb2.Durability
    def __init__(self, name: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., required_durability: _Optional[_Union[_cache_service_pb2.Durability, str]] = ...) -> None: ...

class PublishEventResponse(_message.Message):
    __slots__ = ("targets", "durability")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[_cache_service_pb2.EventTargetResult]
    durability: _cache_service_pb2.Durability
    def __init__(self, targets: _Optional[_Iterable[_Union[_cache_service_pb2.EventTargetResult, _Mapping]]] = ..., durability: _Optional[_Union[_cache_service_pb2.Durability, str]] = ...) -> None: ...

class MintTokenRequest(_message.Message):
    __slots__ = ("verbs", "namespaces", "key_prefix", "ttl")
    VERBS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    verbs: _containers.RepeatedScalarFieldContainer[str]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    key_prefix: str
    ttl: _duration_pb2.Duration
    def __init__(self, verbs: _Optional[_Iterable[str]] = ..., namespaces: _Optional[_Iterable[str]] = ..., key_prefix: _Optional[str] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class MintTokenResponse(_message.Message):
    __slots__ = ("token", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, token: _Optional[str] = ..., expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TailAuditRequest(_message.Message):
    __slots__ = ("records", "follow")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    records: int
    follow: bool
    def __init__(self, records: _Optional[int] = ..., follow: bool = ...) -> None: ...

class TailAuditResponse(_message.Message):
    __slots__ = ("records", "missed")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[str]
    missed: int
    def __init__(self, records: _Optional[_Iterable[str]] = ..., missed: _Optional[int] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[EventRules]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[EventRules, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class EventRules(_message.Message):
    __slots__ = ("name", "rules")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    name: str
    rules: _containers.RepeatedCompositeFieldContainer[EventRule]
    def __init__(self, name: _Optional[str] = ..., rules: _Optional[_Iterable[_Union[EventRule, _Mapping]]] = ...) -> None: ...

class EventRule(_message.Message):
    __slots__ = ("namespace", "pattern", "key", "params", "tags", "when")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class WhenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pattern: str
    key: str
    params: _containers.ScalarMap[str, str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    when: _containers.ScalarMap[str, str]
    def __init__(self, namespace: _Optional[str] = ..., pattern: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., tags: _Optional[_Iterable[str]] = ..., when: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("namespaces", "span")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    span: HistorySpan
    def __init__(self, namespaces: _Optional[_Iterable[str]] = ..., span: _Optional[_Union[HistorySpan, str]] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("totals", "namespaces", "step", "degraded")
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    totals: _containers.RepeatedCompositeFieldContainer[HistoryStep]
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceHistory]
    step: _duration_pb2.Duration
    degraded: bool
    def __init__(self, totals: _Optional[_Iterable[_Union[HistoryStep, _Mapping]]] = ..., namespaces: _Optional[_Iterable[_Union[NamespaceHistory, _Mapping]]] = ..., step: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., degraded: bool = ...) -> None: ...

class HistoryStep(_message.Message):
    __slots__ = ("start", "counters")
    START_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    counters: _cache_service_pb2.Counters
    def __init__(self, start: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., counters: _Optional[_Union[_cache_service_pb2.Counters, _Mapping]] = ...) -> None: ...

class NamespaceHistory(_message.Message):
    __slots__ = ("namespace", "steps")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    steps: _containers.RepeatedCompositeFieldContainer[_cache_service_pb2.Counters]
    def __init__(self, namespace: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[_cache_service_pb2.Counters, _Mapping]]] = ...) -> None: ...

class ListReplicasRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReplicasResponse(_message.Message):
    __slots__ = ("replicas", "degraded")
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    degraded: bool
    def __init__(self, replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., degraded: bool = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("replica", "host", "reported_at", "requests_per_second", "cpus", "resident_bytes", "in_flight", "connections", "near_cache_bytes", "store_available", "store_trouble", "origins")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    REPORTED_AT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEAR_CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORE_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    STORE_TROUBLE_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    replica: _cache_service_pb2.ReplicaStats
    host: str
    reported_at: _timestamp_pb2.Timestamp
    requests_per_second: float
    cpus: float
    resident_bytes: int
    in_flight: int
    connections: int
    near_cache_bytes: int
    store_available: bool
    store_trouble: str
    origins: _containers.RepeatedCompositeFieldContainer[OriginState]
    def __init__(self, replica: _Optional[_Union[_cache_service_pb2.ReplicaStats, _Mapping]] = ..., host: _Optional[str] = ..., reported_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., requests_per_second: _Optional[float] = ..., cpus: _Optional[float] = ..., resident_bytes: _Optional[int] = ..., in_flight: _Optional[int] = ..., connections: _Optional[int] = ..., near_cache_bytes: _Optional[int] = ..., store_available: bool = ..., store_trouble: _Optional[str] = ..., origins: _Optional[_Iterable[_Union[OriginState, _Mapping]]] = ...) -> None: ...

class OriginState(_message.Message):
    __slots__ = ("namespace", "url", "breaker", "since", "in_flight", "failures", "last_error")
    class Breaker(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BREAKER_UNSPECIFIED: _ClassVar[OriginState.Breaker]
        BREAKER_CLOSED: _ClassVar[OriginState.Breaker]
        BREAKER_OPEN: _ClassVar[OriginState.Breaker]
        BREAKER_HALF_OPEN: _ClassVar[OriginState.Breaker]
    BREAKER_UNSPECIFIED: OriginState.Breaker
    BREAKER_CLOSED: OriginState.Breaker
    BREAKER_OPEN: OriginState.Breaker
    BREAKER_HALF_OPEN: OriginState.Breaker
    class FailuresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    url: str
    breaker: OriginState.Breaker
    since: _timestamp_pb2.Timestamp
    in_flight: int
    failures: _containers.ScalarMap[str, int]
    last_error: str
    def __init__(self, namespace: _Optional[str] = ..., url: _Optional[str] = ..., breaker: _Optional[_Union[OriginState.Breaker, str]] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., in_flight: _Optional[int] = ..., failures: _Optional[_Mapping[str, int]] = ..., last_error: _Optional[str] = ...) -> None: ...

class AnalyzeRequest(_message.Message):
    __slots__ = ("namespaces",)
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespaces: _Optional[_Iterable[str]] = ...) -> None: ...

class AnalyzeResponse(_message.Message):
    __slots__ = ("namespaces", "findings", "degraded")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceAnalysis]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    degraded: bool
    def __init__(self, namespaces: _Optional[_Iterable[_Union[NamespaceAnalysis, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., degraded: bool = ...) -> None: ...

class NamespaceAnalysis(_message.Message):
    __slots__ = ("namespace", "counters", "size", "ttl", "reuse")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REUSE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    counters: _cache_service_pb2.Counters
    size: _cache_service_pb2.NamespaceSize
    ttl: _duration_pb2.Duration
    reuse: ReuseEstimate
    def __init__(self, namespace: _Optional[str] = ..., counters: _Optional[_Union[_cache_service_pb2.Counters, _Mapping]] = ..., size: _Optional[_Union[_cache_service_pb2.NamespaceSize, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., reuse: _Optional[_Union[ReuseEstimate, _Mapping]] = ...) -> None: ...

class ReuseEstimate(_message.Message):
    __slots__ = ("sampled_hits", "sampled_misses", "sampled_entries", "mean_ttl", "ttls")
    SAMPLED_HITS_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_MISSES_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MEAN_TTL_FIELD_NUMBER: _ClassVar[int]
    TTLS_FIELD_NUMBER: _ClassVar[int]
    sampled_hits: int
    sampled_misses: int
    sampled_entries: int
    mean_ttl: _duration_pb2.Duration
    ttls: _containers.RepeatedCompositeFieldContainer[TtlEstimate]
    def __init__(self, sampled_hits: _Optional[int] = ..., sampled_misses: _Optional[int] = ..., sampled_entries: _Optional[int] = ..., mean_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ttls: _Optional[_Iterable[_Union[TtlEstimate, _Mapping]]] = ...) -> None: ...

class TtlEstimate(_message.Message):
    __slots__ = ("ttl", "hit_rate", "error", "freed_memory")
    TTL_FIELD_NUMBER: _ClassVar[int]
    HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FREED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    hit_rate: float
    error: float
    freed_memory: float
    def __init__(self, ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., hit_rate: _Optional[float] = ..., error: _Optional[float] = ..., freed_memory: _Optional[float] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("namespace", "kind", "severity", "summary", "figures", "suggestion")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Finding.Kind]
        KIND_TTL_TOO_SHORT: _ClassVar[Finding.Kind]
        KIND_TTL_TOO_LONG: _ClassVar[Finding.Kind]
        KIND_NEVER_READ: _ClassVar[Finding.Kind]
        KIND_LARGE_RARELY_READ: _ClassVar[Finding.Kind]
        KIND_INVALIDATED_MORE_THAN_HIT: _ClassVar[Finding.Kind]
        KIND_EVICTED_TOO_SOON: _ClassVar[Finding.Kind]
        KIND_LOW_HIT_RATE: _ClassVar[Finding.Kind]
        KIND_ORIGIN_FAILS: _ClassVar[Finding.Kind]
    KIND_UNSPECIFIED: Finding.Kind
    KIND_TTL_TOO_SHORT: Finding.Kind
    KIND_TTL_TOO_LONG: Finding.Kind
    KIND_NEVER_READ: Finding.Kind
    KIND_LARGE_RARELY_READ: Finding.Kind
    KIND_INVALIDATED_MORE_THAN_HIT: Finding.Kind
    KIND_EVICTED_TOO_SOON: Finding.Kind
    KIND_LOW_HIT_RATE: Finding.Kind
    KIND_ORIGIN_FAILS: Finding.Kind
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Finding.Severity]
        SEVERITY_NOTICE: _ClassVar[Finding.Severity]
        SEVERITY_WARNING: _ClassVar[Finding.Severity]
        SEVERITY_CRITICAL: _ClassVar[Finding.Severity]
    SEVERITY_UNSPECIFIED: Finding.Severity
    SEVERITY_NOTICE: Finding.Severity
    SEVERITY_WARNING: Finding.Severity
    SEVERITY_CRITICAL: Finding.Severity
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    SUGGESTION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    kind: Finding.Kind
    severity: Finding.Severity
    summary: str
    figures: _containers.RepeatedCompositeFieldContainer[Figure]
    suggestion: str
    def __init__(self, namespace: _Optional[str] = ..., kind: _Optional[_Union[Finding.Kind, str]] = ..., severity: _Optional[_Union[Finding.Severity, str]] = ..., summary: _Optional[str] = ..., figures: _Optional[_Iterable[_Union[Figure, _Mapping]]] = ..., suggestion: _Optional[str] = ...) -> None: ...

class Figure(_message.Message):
    __slots__ = ("name", "value", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    unit: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., unit: _Optional[str] = ...) -> None: ...
