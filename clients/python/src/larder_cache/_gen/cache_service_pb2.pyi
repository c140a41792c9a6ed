from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_NEAR: _ClassVar[Tier]
    TIER_STORE: _ClassVar[Tier]
    TIER_ORIGIN: _ClassVar[Tier]

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_STORE: _ClassVar[Consistency]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_HIT: _ClassVar[Outcome]
    OUTCOME_STALE: _ClassVar[Outcome]
    OUTCOME_MISS: _ClassVar[Outcome]
    OUTCOME_NEGATIVE: _ClassVar[Outcome]

class SetResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SET_RESULT_UNSPECIFIED: _ClassVar[SetResult]
    SET_RESULT_STORED: _ClassVar[SetResult]
    SET_RESULT_CONDITION_NOT_MET: _ClassVar[SetResult]
    SET_RESULT_LEASE_LOST: _ClassVar[SetResult]
    SET_RESULT_INVALIDATED: _ClassVar[SetResult]
    SET_RESULT_SUPERSEDED: _ClassVar[SetResult]
    SET_RESULT_NOT_STORED: _ClassVar[SetResult]

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_APPLIED: _ClassVar[Durability]
    DURABILITY_QUEUED: _ClassVar[Durability]

class FetchStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FETCH_STATUS_UNSPECIFIED: _ClassVar[FetchStatus]
    FETCH_STATUS_FETCHED: _ClassVar[FetchStatus]
    FETCH_STATUS_REVALIDATED: _ClassVar[FetchStatus]
    FETCH_STATUS_COALESCED: _ClassVar[FetchStatus]
    FETCH_STATUS_REFRESHING: _ClassVar[FetchStatus]
    FETCH_STATUS_REFRESHING_EARLY: _ClassVar[FetchStatus]
    FETCH_STATUS_SOFT_TIMEOUT: _ClassVar[FetchStatus]
    FETCH_STATUS_FAILED: _ClassVar[FetchStatus]

class FillResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILL_RESULT_UNSPECIFIED: _ClassVar[FillResult]
    FILL_RESULT_STORED: _ClassVar[FillResult]
    FILL_RESULT_LEASE_LOST: _ClassVar[FillResult]
    FILL_RESULT_INVALIDATED: _ClassVar[FillResult]
    FILL_RESULT_SUPERSEDED: _ClassVar[FillResult]
    FILL_RESULT_UNCACHEABLE: _ClassVar[FillResult]
    FILL_RESULT_NOT_STORED: _ClassVar[FillResult]

class RenewResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RENEW_RESULT_UNSPECIFIED: _ClassVar[RenewResult]
    RENEW_RESULT_RENEWED: _ClassVar[RenewResult]
    RENEW_RESULT_LEASE_LOST: _ClassVar[RenewResult]
    RENEW_RESULT_INVALIDATED: _ClassVar[RenewResult]
    RENEW_RESULT_SUPERSEDED: _ClassVar[RenewResult]

class PatchResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PATCH_RESULT_UNSPECIFIED: _ClassVar[PatchResult]
    PATCH_RESULT_APPLIED: _ClassVar[PatchResult]
    PATCH_RESULT_CONDITION_NOT_MET: _ClassVar[PatchResult]
    PATCH_RESULT_MISSING: _ClassVar[PatchResult]

class ResetReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESET_REASON_UNSPECIFIED: _ClassVar[ResetReason]
    RESET_REASON_FEED_LOST: _ClassVar[ResetReason]
    RESET_REASON_STORE_UNAVAILABLE: _ClassVar[ResetReason]
    RESET_REASON_STORE_FLUSHED: _ClassVar[ResetReason]
    RESET_REASON_SLOW_READER: _ClassVar[ResetReason]
    RESET_REASON_NOT_RESUMABLE: _ClassVar[ResetReason]
    RESET_REASON_SHUTTING_DOWN: _ClassVar[ResetReason]
TIER_UNSPECIFIED: Tier
TIER_NEAR: Tier
TIER_STORE: Tier
TIER_ORIGIN: Tier
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_STORE: Consistency
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_HIT: Outcome
OUTCOME_STALE: Outcome
OUTCOME_MISS: Outcome
OUTCOME_NEGATIVE: Outcome
SET_RESULT_UNSPECIFIED: SetResult
SET_RESULT_STORED: SetResult
SET_RESULT_CONDITION_NOT_MET: SetResult
SET_RESULT_LEASE_LOST: SetResult
SET_RESULT_INVALIDATED: SetResult
SET_RESULT_SUPERSEDED: SetResult
SET_RESULT_NOT_STORED: SetResult
DURABILITY_UNSPECIFIED: Durability
DURABILITY_APPLIED: Durability
DURABILITY_QUEUED: Durability
FETCH_STATUS_UNSPECIFIED: FetchStatus
FETCH_STATUS_FETCHED: FetchStatus
FETCH_STATUS_REVALIDATED: FetchStatus
FETCH_STATUS_COALESCED: FetchStatus
FETCH_STATUS_REFRESHING: FetchStatus
FETCH_STATUS_REFRESHING_EARLY: FetchStatus
FETCH_STATUS_SOFT_TIMEOUT: FetchStatus
FETCH_STATUS_FAILED: FetchStatus
FILL_RESULT_UNSPECIFIED: FillResult
FILL_RESULT_STORED: FillResult
FILL_RESULT_LEASE_LOST: FillResult
FILL_RESULT_INVALIDATED: FillResult
FILL_RESULT_SUPERSEDED: FillResult
FILL_RESULT_UNCACHEABLE: FillResult
FILL_RESULT_NOT_STORED: FillResult
RENEW_RESULT_UNSPECIFIED: RenewResult
RENEW_RESULT_RENEWED: RenewResult
RENEW_RESULT_LEASE_LOST: RenewResult
RENEW_RESULT_INVALIDATED: RenewResult
RENEW_RESULT_SUPERSEDED: RenewResult
PATCH_RESULT_UNSPECIFIED: PatchResult
PATCH_RESULT_APPLIED: PatchResult
PATCH_RESULT_CONDITION_NOT_MET: PatchResult
PATCH_RESULT_MISSING: PatchResult
RESET_REASON_UNSPECIFIED: ResetReason
RESET_REASON_FEED_LOST: ResetReason
RESET_REASON_STORE_UNAVAILABLE: ResetReason
RESET_REASON_STORE_FLUSHED: ResetReason
RESET_REASON_SLOW_READER: ResetReason
RESET_REASON_NOT_RESUMABLE: ResetReason
RESET_REASON_SHUTTING_DOWN: ResetReason

class Value(_message.Message):
    __slots__ = ("data", "text", "json")
    DATA_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    text: str
    json: str
    def __init__(self, data: _Optional[bytes] = ..., text: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class KeyRef(_message.Message):
    __slots__ = ("namespace", "key", "params")
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
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EntryInfo(_message.Message):
    __slots__ = ("version", "age", "ttl_remaining", "tags", "tier")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    TTL_REMAINING_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    version: str
    age: _duration_pb2.Duration
    ttl_remaining: _duration_pb2.Duration
    tags: _containers.RepeatedScalarFieldContainer[str]
    tier: Tier
    def __init__(self, version: _Optional[str] = ..., age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ttl_remaining: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ..., tier: _Optional[_Union[Tier, str]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "max_stale", "consistency", "if_version_not", "omit_value", "json_pointers", "touch")
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
    MAX_STALE_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_NOT_FIELD_NUMBER: _ClassVar[int]
    OMIT_VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_POINTERS_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    max_stale: _duration_pb2.Duration
    consistency: Consistency
    if_version_not: str
    omit_value: bool
    json_pointers: _containers.RepeatedScalarFieldContainer[str]
    touch: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., max_stale: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., consistency: _Optional[_Union[Consistency, str]] = ..., if_version_not: _Optional[str] = ..., omit_value: bool = ..., json_pointers: _Optional[_Iterable[str]] = ..., touch: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("outcome", "value", "entry", "degraded", "not_modified", "parts")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    NOT_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    value: Value
    entry: EntryInfo
    degraded: bool
    not_modified: bool
    parts: _containers.RepeatedCompositeFieldContainer[JsonPart]
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., degraded: bool = ..., not_modified: bool = ..., parts: _Optional[_Iterable[_Union[JsonPart, _Mapping]]] = ...) -> None: ...

class JsonPart(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class SetRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "value", "ttl", "tags", "if_absent", "if_present", "if_version", "lease_token")
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
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    IF_ABSENT_FIELD_NUMBER: _ClassVar[int]
    IF_PRESENT_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    value: Value
    ttl: _duration_pb2.Duration
    tags: _containers.RepeatedScalarFieldContainer[str]
    if_absent: bool
    if_present: bool
    if_version: str
    lease_token: bytes
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ..., if_absent: bool = ..., if_present: bool = ..., if_version: _Optional[str] = ..., lease_token: _Optional[bytes] = ...) -> None: ...

class SetResponse(_message.Message):
    __slots__ = ("result", "version", "ttl", "degraded", "cause")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    result: SetResult
    version: str
    ttl: _duration_pb2.Duration
    degraded: bool
    cause: str
    def __init__(self, result: _Optional[_Union[SetResult, str]] = ..., version: _Optional[str] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., degraded: bool = ..., cause: _Optional[str] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "hold_off", "if_version", "return_value", "required_durability")
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
    HOLD_OFF_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    RETURN_VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_DURABILITY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    hold_off: _duration_pb2.Duration
    if_version: str
    return_value: bool
    required_durability: Durability
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., hold_off: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., if_version: _Optional[str] = ..., return_value: bool = ..., required_durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("existed", "deleted", "removed", "durability")
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    deleted: bool
    removed: Found
    durability: Durability
    def __init__(self, existed: bool = ..., deleted: bool = ..., removed: _Optional[_Union[Found, _Mapping]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class InvalidateNamespaceRequest(_message.Message):
    __slots__ = ("namespace", "required_durability")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_DURABILITY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    required_durability: Durability
    def __init__(self, namespace: _Optional[str] = ..., required_durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class InvalidateNamespaceResponse(_message.Message):
    __slots__ = ("durability",)
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    durability: Durability
    def __init__(self, durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class InvalidateRequest(_message.Message):
    __slots__ = ("targets", "hold_off", "required_durability")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    HOLD_OFF_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_DURABILITY_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    hold_off: _duration_pb2.Duration
    required_durability: Durability
    def __init__(self, targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ..., hold_off: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., required_durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("namespace", "tags", "pattern", "key", "event")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    tags: TagTarget
    pattern: PatternTarget
    key: KeyRef
    event: EventTarget
    def __init__(self, namespace: _Optional[str] = ..., tags: _Optional[_Union[TagTarget, _Mapping]] = ..., pattern: _Optional[_Union[PatternTarget, _Mapping]] = ..., key: _Optional[_Union[KeyRef, _Mapping]] = ..., event: _Optional[_Union[EventTarget, _Mapping]] = ...) -> None: ...

class TagTarget(_message.Message):
    __slots__ = ("namespace", "tags")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class PatternTarget(_message.Message):
    __slots__ = ("namespace", "glob")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GLOB_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    glob: str
    def __init__(self, namespace: _Optional[str] = ..., glob: _Optional[str] = ...) -> None: ...

class EventTarget(_message.Message):
    __slots__ = ("name", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class InvalidateResponse(_message.Message):
    __slots__ = ("results", "events", "durability")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[TargetResult]
    events: _containers.RepeatedCompositeFieldContainer[EventResult]
    durability: Durability
    def __init__(self, results: _Optional[_Iterable[_Union[TargetResult, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[EventResult, _Mapping]]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class EventResult(_message.Message):
    __slots__ = ("targets",)
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[EventTargetResult]
    def __init__(self, targets: _Optional[_Iterable[_Union[EventTargetResult, _Mapping]]] = ...) -> None: ...

class EventTargetResult(_message.Message):
    __slots__ = ("target", "result")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    target: Target
    result: TargetResult
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., result: _Optional[_Union[TargetResult, _Mapping]] = ...) -> None: ...

class TargetResult(_message.Message):
    __slots__ = ("existed", "namespace_invalidated", "namespaces", "durability")
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    namespace_invalidated: bool
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceResult]
    durability: Durability
    def __init__(self, existed: bool = ..., namespace_invalidated: bool = ..., namespaces: _Optional[_Iterable[_Union[NamespaceResult, _Mapping]]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class NamespaceResult(_message.Message):
    __slots__ = ("namespace", "namespace_invalidated")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    namespace_invalidated: bool
    def __init__(self, namespace: _Optional[str] = ..., namespace_invalidated: bool = ...) -> None: ...

class GetOrFetchRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "max_stale", "wait", "no_cache", "only_if_cached", "consistency", "if_version_not", "omit_value", "json_pointers", "touch")
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
    MAX_STALE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_CACHED_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_NOT_FIELD_NUMBER: _ClassVar[int]
    OMIT_VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_POINTERS_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    max_stale: _duration_pb2.Duration
    wait: _duration_pb2.Duration
    no_cache: bool
    only_if_cached: bool
    consistency: Consistency
    if_version_not: str
    omit_value: bool
    json_pointers: _containers.RepeatedScalarFieldContainer[str]
    touch: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., max_stale: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., no_cache: bool = ..., only_if_cached: bool = ..., consistency: _Optional[_Union[Consistency, str]] = ..., if_version_not: _Optional[str] = ..., omit_value: bool = ..., json_pointers: _Optional[_Iterable[str]] = ..., touch: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetOrFetchResponse(_message.Message):
    __slots__ = ("found", "lease", "contended", "not_cached", "degraded", "fetch_status", "fill", "cause")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CONTENDED_FIELD_NUMBER: _ClassVar[int]
    NOT_CACHED_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    FETCH_STATUS_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    found: Found
    lease: Lease
    contended: Contended
    not_cached: NotCached
    degraded: bool
    fetch_status: FetchStatus
    fill: FillResult
    cause: str
    def __init__(self, found: _Optional[_Union[Found, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., contended: _Optional[_Union[Contended, _Mapping]] = ..., not_cached: _Optional[_Union[NotCached, _Mapping]] = ..., degraded: bool = ..., fetch_status: _Optional[_Union[FetchStatus, str]] = ..., fill: _Optional[_Union[FillResult, str]] = ..., cause: _Optional[str] = ...) -> None: ...

class NotCached(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Found(_message.Message):
    __slots__ = ("value", "entry", "outcome", "not_modified", "parts", "not_json")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    NOT_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    NOT_JSON_FIELD_NUMBER: _ClassVar[int]
    value: Value
    entry: EntryInfo
    outcome: Outcome
    not_modified: bool
    parts: _containers.RepeatedCompositeFieldContainer[JsonPart]
    not_json: bool
    def __init__(self, value: _Optional[_Union[Value, _Mapping]] = ..., entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., not_modified: bool = ..., parts: _Optional[_Iterable[_Union[JsonPart, _Mapping]]] = ..., not_json: bool = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("token", "expires_in", "stale", "stale_while_revalidate")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    STALE_WHILE_REVALIDATE_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    expires_in: _duration_pb2.Duration
    stale: Found
    stale_while_revalidate: bool
    def __init__(self, token: _Optional[bytes] = ..., expires_in: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stale: _Optional[_Union[Found, _Mapping]] = ..., stale_while_revalidate: bool = ...) -> None: ...

class Contended(_message.Message):
    __slots__ = ("retry_after",)
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    retry_after: _duration_pb2.Duration
    def __init__(self, retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FetchStreamRequest(_message.Message):
    __slots__ = ("open", "fill", "abandon")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    ABANDON_FIELD_NUMBER: _ClassVar[int]
    open: GetOrFetchRequest
    fill: FetchStreamFill
    abandon: FetchStreamAbandon
    def __init__(self, open: _Optional[_Union[GetOrFetchRequest, _Mapping]] = ..., fill: _Optional[_Union[FetchStreamFill, _Mapping]] = ..., abandon: _Optional[_Union[FetchStreamAbandon, _Mapping]] = ...) -> None: ...

class FetchStreamFill(_message.Message):
    __slots__ = ("value", "ttl", "tags")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    value: Value
    ttl: _duration_pb2.Duration
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, value: _Optional[_Union[Value, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class FetchStreamAbandon(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class FetchStreamResponse(_message.Message):
    __slots__ = ("answer", "filled", "lost")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FILLED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    answer: GetOrFetchResponse
    filled: SetResponse
    lost: SetResult
    def __init__(self, answer: _Optional[_Union[GetOrFetchResponse, _Mapping]] = ..., filled: _Optional[_Union[SetResponse, _Mapping]] = ..., lost: _Optional[_Union[SetResult, str]] = ...) -> None: ...

class BatchGetOrFetchRequest(_message.Message):
    __slots__ = ("keys", "max_stale", "wait", "no_cache", "only_if_cached", "consistency", "if_versions_not", "omit_value", "json_pointers", "touch")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_STALE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    ONLY_IF_CACHED_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    IF_VERSIONS_NOT_FIELD_NUMBER: _ClassVar[int]
    OMIT_VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_POINTERS_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyRef]
    max_stale: _duration_pb2.Duration
    wait: _duration_pb2.Duration
    no_cache: bool
    only_if_cached: bool
    consistency: Consistency
    if_versions_not: _containers.RepeatedScalarFieldContainer[str]
    omit_value: bool
    json_pointers: _containers.RepeatedScalarFieldContainer[str]
    touch: _duration_pb2.Duration
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyRef, _Mapping]]] = ..., max_stale: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., no_cache: bool = ..., only_if_cached: bool = ..., consistency: _Optional[_Union[Consistency, str]] = ..., if_versions_not: _Optional[_Iterable[str]] = ..., omit_value: bool = ..., json_pointers: _Optional[_Iterable[str]] = ..., touch: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BatchGetOrFetchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchGetOrFetchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchGetOrFetchResult, _Mapping]]] = ...) -> None: ...

class BatchGetOrFetchResult(_message.Message):
    __slots__ = ("answer", "error")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    answer: GetOrFetchResponse
    error: FetchError
    def __init__(self, answer: _Optional[_Union[GetOrFetchResponse, _Mapping]] = ..., error: _Optional[_Union[FetchError, _Mapping]] = ...) -> None: ...

class FetchError(_message.Message):
    __slots__ = ("reason", "message", "retry_after")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    retry_after: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "lease_token")
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
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    lease_token: bytes
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., lease_token: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("result", "expires_in", "degraded")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    result: RenewResult
    expires_in: _duration_pb2.Duration
    degraded: bool
    def __init__(self, result: _Optional[_Union[RenewResult, str]] = ..., expires_in: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., degraded: bool = ...) -> None: ...

class AbandonRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "lease_token", "reason", "pass_on")
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
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PASS_ON_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    lease_token: bytes
    reason: str
    pass_on: bool
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., lease_token: _Optional[bytes] = ..., reason: _Optional[str] = ..., pass_on: bool = ...) -> None: ...

class AbandonResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BatchGetRequest(_message.Message):
    __slots__ = ("keys", "max_stale", "consistency", "if_versions_not", "omit_value", "json_pointers", "touch")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_STALE_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    IF_VERSIONS_NOT_FIELD_NUMBER: _ClassVar[int]
    OMIT_VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_POINTERS_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyRef]
    max_stale: _duration_pb2.Duration
    consistency: Consistency
    if_versions_not: _containers.RepeatedScalarFieldContainer[str]
    omit_value: bool
    json_pointers: _containers.RepeatedScalarFieldContainer[str]
    touch: _duration_pb2.Duration
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyRef, _Mapping]]] = ..., max_stale: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., consistency: _Optional[_Union[Consistency, str]] = ..., if_versions_not: _Optional[_Iterable[str]] = ..., omit_value: bool = ..., json_pointers: _Optional[_Iterable[str]] = ..., touch: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BatchGetResponse(_message.Message):
    __slots__ = ("results", "degraded")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchGetResult]
    degraded: bool
    def __init__(self, results: _Optional[_Iterable[_Union[BatchGetResult, _Mapping]]] = ..., degraded: bool = ...) -> None: ...

class BatchGetResult(_message.Message):
    __slots__ = ("outcome", "value", "entry", "not_modified", "parts", "not_json")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    NOT_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    NOT_JSON_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    value: Value
    entry: EntryInfo
    not_modified: bool
    parts: _containers.RepeatedCompositeFieldContainer[JsonPart]
    not_json: bool
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., not_modified: bool = ..., parts: _Optional[_Iterable[_Union[JsonPart, _Mapping]]] = ..., not_json: bool = ...) -> None: ...

class BatchSetRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SetRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[SetRequest, _Mapping]]] = ...) -> None: ...

class BatchSetResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SetResponse]
    def __init__(self, results: _Optional[_Iterable[_Union[SetResponse, _Mapping]]] = ...) -> None: ...

class BatchDeleteRequest(_message.Message):
    __slots__ = ("keys", "hold_off", "if_versions", "required_durability")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    HOLD_OFF_FIELD_NUMBER: _ClassVar[int]
    IF_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_DURABILITY_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyRef]
    hold_off: _duration_pb2.Duration
    if_versions: _containers.RepeatedScalarFieldContainer[str]
    required_durability: Durability
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyRef, _Mapping]]] = ..., hold_off: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., if_versions: _Optional[_Iterable[str]] = ..., required_durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class BatchDeleteResponse(_message.Message):
    __slots__ = ("existed", "deleted", "durabilities")
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    DURABILITIES_FIELD_NUMBER: _ClassVar[int]
    existed: _containers.RepeatedScalarFieldContainer[bool]
    deleted: _containers.RepeatedScalarFieldContainer[bool]
    durabilities: _containers.RepeatedScalarFieldContainer[Durability]
    def __init__(self, existed: _Optional[_Iterable[bool]] = ..., deleted: _Optional[_Iterable[bool]] = ..., durabilities: _Optional[_Iterable[_Union[Durability, str]]] = ...) -> None: ...

class TouchRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "ttl")
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
    TTL_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    ttl: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TouchResponse(_message.Message):
    __slots__ = ("found", "ttl", "degraded")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    found: bool
    ttl: _duration_pb2.Duration
    degraded: bool
    def __init__(self, found: bool = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., degraded: bool = ...) -> None: ...

class IncrementRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "delta", "initial", "ttl", "if_present")
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
    DELTA_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IF_PRESENT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    delta: int
    initial: int
    ttl: _duration_pb2.Duration
    if_present: bool
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., delta: _Optional[int] = ..., initial: _Optional[int] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., if_present: bool = ...) -> None: ...

class IncrementResponse(_message.Message):
    __slots__ = ("value", "version", "ttl_remaining", "missing")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_REMAINING_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    value: int
    version: str
    ttl_remaining: _duration_pb2.Duration
    missing: bool
    def __init__(self, value: _Optional[int] = ..., version: _Optional[str] = ..., ttl_remaining: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., missing: bool = ...) -> None: ...

class PatchRequest(_message.Message):
    __slots__ = ("namespace", "key", "params", "merge_patch", "json_patch", "if_version", "ttl", "keep")
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
    MERGE_PATCH_FIELD_NUMBER: _ClassVar[int]
    JSON_PATCH_FIELD_NUMBER: _ClassVar[int]
    IF_VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    key: str
    params: _containers.ScalarMap[str, str]
    merge_patch: str
    json_patch: str
    if_version: str
    ttl: _duration_pb2.Duration
    keep: bool
    def __init__(self, namespace: _Optional[str] = ..., key: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., merge_patch: _Optional[str] = ..., json_patch: _Optional[str] = ..., if_version: _Optional[str] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., keep: bool = ...) -> None: ...

class PatchResponse(_message.Message):
    __slots__ = ("result", "version", "ttl")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    result: PatchResult
    version: str
    ttl: _duration_pb2.Duration
    def __init__(self, result: _Optional[_Union[PatchResult, str]] = ..., version: _Optional[str] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
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

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[ListedKey]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[ListedKey, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListedKey(_message.Message):
    __slots__ = ("key", "params_digest")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    key: str
    params_digest: str
    def __init__(self, key: _Optional[str] = ..., params_digest: _Optional[str] = ...) -> None: ...

class CountKeysRequest(_message.Message):
    __slots__ = ("namespace", "glob", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GLOB_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    glob: str
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., glob: _Optional[str] = ..., page_token: _Optional[str] = ...) -> None: ...

class CountKeysResponse(_message.Message):
    __slots__ = ("count", "next_page_token")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    count: int
    next_page_token: str
    def __init__(self, count: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("namespaces", "keys", "resume_token")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    keys: bool
    resume_token: bytes
    def __init__(self, namespaces: _Optional[_Iterable[str]] = ..., keys: bool = ..., resume_token: _Optional[bytes] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("ready", "namespace_invalidated", "tags_invalidated", "pattern_invalidated", "keys_changed", "heartbeat", "reset")
    READY_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    TAGS_INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    PATTERN_INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    KEYS_CHANGED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    ready: Ready
    namespace_invalidated: NamespaceInvalidated
    tags_invalidated: TagsInvalidated
    pattern_invalidated: PatternInvalidated
    keys_changed: KeysChanged
    heartbeat: Heartbeat
    reset: Reset
    def __init__(self, ready: _Optional[_Union[Ready, _Mapping]] = ..., namespace_invalidated: _Optional[_Union[NamespaceInvalidated, _Mapping]] = ..., tags_invalidated: _Optional[_Union[TagsInvalidated, _Mapping]] = ..., pattern_invalidated: _Optional[_Union[PatternInvalidated, _Mapping]] = ..., keys_changed: _Optional[_Union[KeysChanged, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., reset: _Optional[_Union[Reset, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("resume_token", "resumed", "max_delay", "heartbeat")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    resume_token: bytes
    resumed: bool
    max_delay: _duration_pb2.Duration
    heartbeat: _duration_pb2.Duration
    def __init__(self, resume_token: _Optional[bytes] = ..., resumed: bool = ..., max_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class NamespaceInvalidated(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class TagsInvalidated(_message.Message):
    __slots__ = ("namespace", "tags")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class PatternInvalidated(_message.Message):
    __slots__ = ("namespace", "glob")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GLOB_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    glob: str
    def __init__(self, namespace: _Optional[str] = ..., glob: _Optional[str] = ...) -> None: ...

class KeysChanged(_message.Message):
    __slots__ = ("namespace", "keys")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    keys: _containers.RepeatedCompositeFieldContainer[ChangedKey]
    def __init__(self, namespace: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[ChangedKey, _Mapping]]] = ...) -> None: ...

class ChangedKey(_message.Message):
    __slots__ = ("key", "params_digest")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    key: str
    params_digest: str
    def __init__(self, key: _Optional[str] = ..., params_digest: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("resume_token",)
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    resume_token: bytes
    def __init__(self, resume_token: _Optional[bytes] = ...) -> None: ...

class Reset(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: ResetReason
    def __init__(self, reason: _Optional[_Union[ResetReason, str]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("namespaces", "page_size", "page_token")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    def __init__(self, namespaces: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("totals", "namespaces", "store", "degraded", "collected_at", "next_page_token", "replicas", "counting_since")
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    COLLECTED_AT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    COUNTING_SINCE_FIELD_NUMBER: _ClassVar[int]
    totals: WindowStats
    namespaces: _containers.RepeatedCompositeFieldContainer[NamespaceStats]
    store: StoreStats
    degraded: bool
    collected_at: _timestamp_pb2.Timestamp
    next_page_token: str
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaStats]
    counting_since: _timestamp_pb2.Timestamp
    def __init__(self, totals: _Optional[_Union[WindowStats, _Mapping]] = ..., namespaces: _Optional[_Iterable[_Union[NamespaceStats, _Mapping]]] = ..., store: _Optional[_Union[StoreStats, _Mapping]] = ..., degraded: bool = ..., collected_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_page_token: _Optional[str] = ..., replicas: _Optional[_Iterable[_Union[ReplicaStats, _Mapping]]] = ..., counting_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReplicaStats(_message.Message):
    __slots__ = ("id", "version", "started_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    started_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NamespaceStats(_message.Message):
    __slots__ = ("namespace", "counted", "size")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    counted: WindowStats
    size: NamespaceSize
    def __init__(self, namespace: _Optional[str] = ..., counted: _Optional[_Union[WindowStats, _Mapping]] = ..., size: _Optional[_Union[NamespaceSize, _Mapping]] = ...) -> None: ...

class WindowStats(_message.Message):
    __slots__ = ("total", "last_hour", "last_day")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LAST_HOUR_FIELD_NUMBER: _ClassVar[int]
    LAST_DAY_FIELD_NUMBER: _ClassVar[int]
    total: Counters
    last_hour: Counters
    last_day: Counters
    def __init__(self, total: _Optional[_Union[Counters, _Mapping]] = ..., last_hour: _Optional[_Union[Counters, _Mapping]] = ..., last_day: _Optional[_Union[Counters, _Mapping]] = ...) -> None: ...

class Counters(_message.Message):
    __slots__ = ("hits", "stale", "negative", "misses", "hit_rate", "sets", "sets_refused", "deletes", "invalidations", "leases_granted", "leases_refused", "leases_abandoned", "degraded", "hit_latency", "miss_latency", "fetch_latency", "fetches", "fetches_failed", "fetches_coalesced", "early_refreshes", "stale_while_revalidate", "stale_if_error", "stale_soft_timeout", "fills_lost", "fills_invalidated", "fills_superseded", "fills_not_stored", "uncacheable", "near_hits", "bans", "invalidations_coalesced", "contended", "compute_latency")
    HITS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    SETS_FIELD_NUMBER: _ClassVar[int]
    SETS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    DELETES_FIELD_NUMBER: _ClassVar[int]
    INVALIDATIONS_FIELD_NUMBER: _ClassVar[int]
    LEASES_GRANTED_FIELD_NUMBER: _ClassVar[int]
    LEASES_REFUSED_FIELD_NUMBER: _ClassVar[int]
    LEASES_ABANDONED_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    HIT_LATENCY_FIELD_NUMBER: _ClassVar[int]
    MISS_LATENCY_FIELD_NUMBER: _ClassVar[int]
    FETCH_LATENCY_FIELD_NUMBER: _ClassVar[int]
    FETCHES_FIELD_NUMBER: _ClassVar[int]
    FETCHES_FAILED_FIELD_NUMBER: _ClassVar[int]
    FETCHES_COALESCED_FIELD_NUMBER: _ClassVar[int]
    EARLY_REFRESHES_FIELD_NUMBER: _ClassVar[int]
    STALE_WHILE_REVALIDATE_FIELD_NUMBER: _ClassVar[int]
    STALE_IF_ERROR_FIELD_NUMBER: _ClassVar[int]
    STALE_SOFT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    FILLS_LOST_FIELD_NUMBER: _ClassVar[int]
    FILLS_INVALIDATED_FIELD_NUMBER: _ClassVar[int]
    FILLS_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    FILLS_NOT_STORED_FIELD_NUMBER: _ClassVar[int]
    UNCACHEABLE_FIELD_NUMBER: _ClassVar[int]
    NEAR_HITS_FIELD_NUMBER: _ClassVar[int]
    BANS_FIELD_NUMBER: _ClassVar[int]
    INVALIDATIONS_COALESCED_FIELD_NUMBER: _ClassVar[int]
    CONTENDED_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_LATENCY_FIELD_NUMBER: _ClassVar[int]
    hits: int
    stale: int
    negative: int
    misses: int
    hit_rate: float
    sets: int
    sets_refused: int
    deletes: int
    invalidations: int
    leases_granted: int
    leases_refused: int
    leases_abandoned: int
    degraded: int
    hit_latency: Latency
    miss_latency: Latency
    fetch_latency: Latency
    fetches: int
    fetches_failed: int
    fetches_coalesced: int
    early_refreshes: int
    stale_while_revalidate: int
    stale_if_error: int
    stale_soft_timeout: int
    fills_lost: int
    fills_invalidated: int
    fills_superseded: int
    fills_not_stored: int
    uncacheable: int
    near_hits: int
    bans: int
    invalidations_coalesced: int
    contended: int
    compute_latency: Latency
    def __init__(self, hits: _Optional[int] = ..., stale: _Optional[int] = ..., negative: _Optional[int] = ..., misses: _Optional[int] = ..., hit_rate: _Optional[float] = ..., sets: _Optional[int] = ..., sets_refused: _Optional[int] = ..., deletes: _Optional[int] = ..., invalidations: _Optional[int] = ..., leases_granted: _Optional[int] = ..., leases_refused: _Optional[int] = ..., leases_abandoned: _Optional[int] = ..., degraded: _Optional[int] = ..., hit_latency: _Optional[_Union[Latency, _Mapping]] = ..., miss_latency: _Optional[_Union[Latency, _Mapping]] = ..., fetch_latency: _Optional[_Union[Latency, _Mapping]] = ..., fetches: _Optional[int] = ..., fetches_failed: _Optional[int] = ..., fetches_coalesced: _Optional[int] = ..., early_refreshes: _Optional[int] = ..., stale_while_revalidate: _Optional[int] = ..., stale_if_error: _Optional[int] = ..., stale_soft_timeout: _Optional[int] = ..., fills_lost: _Optional[int] = ..., fills_invalidated: _Optional[int] = ..., fills_superseded: _Optional[int] = ..., fills_not_stored: _Optional[int] = ..., uncacheable: _Optional[int] = ..., near_hits: _Optional[int] = ..., bans: _Optional[int] = ..., invalidations_coalesced: _Optional[int] = ..., contended: _Optional[int] = ..., compute_latency: _Optional[_Union[Latency, _Mapping]] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("p50", "p95", "p99")
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    p50: _duration_pb2.Duration
    p95: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    def __init__(self, p50: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., p95: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class NamespaceSize(_message.Message):
    __slots__ = ("keys", "bytes", "sampled", "ttl")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    keys: int
    bytes: int
    sampled: bool
    ttl: _containers.RepeatedCompositeFieldContainer[TtlBucket]
    def __init__(self, keys: _Optional[int] = ..., bytes: _Optional[int] = ..., sampled: bool = ..., ttl: _Optional[_Iterable[_Union[TtlBucket, _Mapping]]] = ...) -> None: ...

class TtlBucket(_message.Message):
    __slots__ = ("up_to", "keys")
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    up_to: _duration_pb2.Duration
    keys: int
    def __init__(self, up_to: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., keys: _Optional[int] = ...) -> None: ...

class StoreStats(_message.Message):
    __slots__ = ("kind", "server_version", "reachable", "used_bytes", "peak_bytes", "max_bytes", "fragmentation_ratio", "eviction_policy", "evicted_keys", "expired_keys", "keys", "clients", "ops_per_second", "persistence", "uptime", "cause", "topology", "sentinel_service", "primary", "sentinels", "sentinels_reachable")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAGMENTATION_RATIO_FIELD_NUMBER: _ClassVar[int]
    EVICTION_POLICY_FIELD_NUMBER: _ClassVar[int]
    EVICTED_KEYS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_KEYS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    OPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    PERSISTENCE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    SENTINEL_SERVICE_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_FIELD_NUMBER: _ClassVar[int]
    SENTINELS_FIELD_NUMBER: _ClassVar[int]
    SENTINELS_REACHABLE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    server_version: str
    reachable: bool
    used_bytes: int
    peak_bytes: int
    max_bytes: int
    fragmentation_ratio: float
    eviction_policy: str
    evicted_keys: int
    expired_keys: int
    keys: int
    clients: int
    ops_per_second: int
    persistence: str
    uptime: _duration_pb2.Duration
    cause: str
    topology: str
    sentinel_service: str
    primary: str
    sentinels: int
    sentinels_reachable: int
    def __init__(self, kind: _Optional[str] = ..., server_version: _Optional[str] = ..., reachable: bool = ..., used_bytes: _Optional[int] = ..., peak_bytes: _Optional[int] = ..., max_bytes: _Optional[int] = ..., fragmentation_ratio: _Optional[float] = ..., eviction_policy: _Optional[str] = ..., evicted_keys: _Optional[int] = ..., expired_keys: _Optional[int] = ..., keys: _Optional[int] = ..., clients: _Optional[int] = ..., ops_per_second: _Optional[int] = ..., persistence: _Optional[str] = ..., uptime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., cause: _Optional[str] = ..., topology: _Optional[str] = ..., sentinel_service: _Optional[str] = ..., primary: _Optional[str] = ..., sentinels: _Optional[int] = ..., sentinels_reachable: _Optional[int] = ...) -> None: ...
