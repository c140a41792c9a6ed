package dev.larder.client.internal;

import com.google.protobuf.Message;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.protobuf.ProtoUtils;
import larder.v1.CacheServiceOuterClass.AbandonRequest;
import larder.v1.CacheServiceOuterClass.AbandonResponse;
import larder.v1.CacheServiceOuterClass.BatchDeleteRequest;
import larder.v1.CacheServiceOuterClass.BatchDeleteResponse;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.BatchGetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.BatchGetRequest;
import larder.v1.CacheServiceOuterClass.BatchGetResponse;
import larder.v1.CacheServiceOuterClass.BatchSetRequest;
import larder.v1.CacheServiceOuterClass.BatchSetResponse;
import larder.v1.CacheServiceOuterClass.CountKeysRequest;
import larder.v1.CacheServiceOuterClass.CountKeysResponse;
import larder.v1.CacheServiceOuterClass.DeleteRequest;
import larder.v1.CacheServiceOuterClass.DeleteResponse;
import larder.v1.CacheServiceOuterClass.GetOrFetchRequest;
import larder.v1.CacheServiceOuterClass.GetOrFetchResponse;
import larder.v1.CacheServiceOuterClass.GetRequest;
import larder.v1.CacheServiceOuterClass.GetResponse;
import larder.v1.CacheServiceOuterClass.IncrementRequest;
import larder.v1.CacheServiceOuterClass.IncrementResponse;
import larder.v1.CacheServiceOuterClass.InvalidateNamespaceRequest;
import larder.v1.CacheServiceOuterClass.InvalidateNamespaceResponse;
import larder.v1.CacheServiceOuterClass.InvalidateRequest;
import larder.v1.CacheServiceOuterClass.InvalidateResponse;
import larder.v1.CacheServiceOuterClass.ListKeysRequest;
import larder.v1.CacheServiceOuterClass.ListKeysResponse;
import larder.v1.CacheServiceOuterClass.PatchRequest;
import larder.v1.CacheServiceOuterClass.PatchResponse;
import larder.v1.CacheServiceOuterClass.RenewRequest;
import larder.v1.CacheServiceOuterClass.RenewResponse;
import larder.v1.CacheServiceOuterClass.SetRequest;
import larder.v1.CacheServiceOuterClass.SetResponse;
import larder.v1.CacheServiceOuterClass.StatsRequest;
import larder.v1.CacheServiceOuterClass.StatsResponse;
import larder.v1.CacheServiceOuterClass.TouchRequest;
import larder.v1.CacheServiceOuterClass.TouchResponse;
import larder.v1.CacheServiceOuterClass.WatchRequest;
import larder.v1.CacheServiceOuterClass.WatchResponse;

/** The calls of {@code larder.v1.CacheService}: see proto/larder/v1/cache_service.proto. */
public final class Rpcs {
  /** Name of the service. */
  public static final String SERVICE = "larder.v1.CacheService";

  /** Reads one entry. */
  public static final MethodDescriptor<GetRequest, GetResponse> GET =
      unary("Get", GetRequest.getDefaultInstance(), GetResponse.getDefaultInstance());

  /** Stores one value. */
  public static final MethodDescriptor<SetRequest, SetResponse> SET =
      unary("Set", SetRequest.getDefaultInstance(), SetResponse.getDefaultInstance());

  /** Removes one entry. */
  public static final MethodDescriptor<DeleteRequest, DeleteResponse> DELETE =
      unary("Delete", DeleteRequest.getDefaultInstance(), DeleteResponse.getDefaultInstance());

  /** Invalidates a namespace. */
  public static final MethodDescriptor<InvalidateNamespaceRequest, InvalidateNamespaceResponse>
      INVALIDATE_NAMESPACE =
          unary(
              "InvalidateNamespace",
              InvalidateNamespaceRequest.getDefaultInstance(),
              InvalidateNamespaceResponse.getDefaultInstance());

  /** Invalidates by tag, pattern, key and event. */
  public static final MethodDescriptor<InvalidateRequest, InvalidateResponse> INVALIDATE =
      unary(
          "Invalidate",
          InvalidateRequest.getDefaultInstance(),
          InvalidateResponse.getDefaultInstance());

  /** Statistics. */
  public static final MethodDescriptor<StatsRequest, StatsResponse> STATS =
      unary("Stats", StatsRequest.getDefaultInstance(), StatsResponse.getDefaultInstance());

  /** Reads one entry, or grants the lease to compute it. */
  public static final MethodDescriptor<GetOrFetchRequest, GetOrFetchResponse> GET_OR_FETCH =
      unary(
          "GetOrFetch",
          GetOrFetchRequest.getDefaultInstance(),
          GetOrFetchResponse.getDefaultInstance());

  /** Reads entries, or grants the leases to compute them. */
  public static final MethodDescriptor<BatchGetOrFetchRequest, BatchGetOrFetchResponse>
      BATCH_GET_OR_FETCH =
          streaming(
              "BatchGetOrFetch",
              BatchGetOrFetchRequest.getDefaultInstance(),
              BatchGetOrFetchResponse.getDefaultInstance());

  /** Extends a lease. */
  public static final MethodDescriptor<RenewRequest, RenewResponse> RENEW =
      unary("Renew", RenewRequest.getDefaultInstance(), RenewResponse.getDefaultInstance());

  /** Gives a lease up. */
  public static final MethodDescriptor<AbandonRequest, AbandonResponse> ABANDON =
      unary("Abandon", AbandonRequest.getDefaultInstance(), AbandonResponse.getDefaultInstance());

  /** Reads entries. */
  public static final MethodDescriptor<BatchGetRequest, BatchGetResponse> BATCH_GET =
      streaming(
          "BatchGet",
          BatchGetRequest.getDefaultInstance(),
          BatchGetResponse.getDefaultInstance());

  /** Stores values. */
  public static final MethodDescriptor<BatchSetRequest, BatchSetResponse> BATCH_SET =
      unary(
          "BatchSet",
          BatchSetRequest.getDefaultInstance(),
          BatchSetResponse.getDefaultInstance());

  /** Removes entries. */
  public static final MethodDescriptor<BatchDeleteRequest, BatchDeleteResponse> BATCH_DELETE =
      unary(
          "BatchDelete",
          BatchDeleteRequest.getDefaultInstance(),
          BatchDeleteResponse.getDefaultInstance());

  /** Gives an entry a new TTL. */
  public static final MethodDescriptor<TouchRequest, TouchResponse> TOUCH =
      unary("Touch", TouchRequest.getDefaultInstance(), TouchResponse.getDefaultInstance());

  /** Adds to a counter. */
  public static final MethodDescriptor<IncrementRequest, IncrementResponse> INCREMENT =
      unary(
          "Increment",
          IncrementRequest.getDefaultInstance(),
          IncrementResponse.getDefaultInstance());

  /** Changes a part of a JSON value. */
  public static final MethodDescriptor<PatchRequest, PatchResponse> PATCH =
      unary("Patch", PatchRequest.getDefaultInstance(), PatchResponse.getDefaultInstance());

  /** Lists keys. */
  public static final MethodDescriptor<ListKeysRequest, ListKeysResponse> LIST_KEYS =
      unary(
          "ListKeys",
          ListKeysRequest.getDefaultInstance(),
          ListKeysResponse.getDefaultInstance());

  /** Counts keys. */
  public static final MethodDescriptor<CountKeysRequest, CountKeysResponse> COUNT_KEYS =
      unary(
          "CountKeys",
          CountKeysRequest.getDefaultInstance(),
          CountKeysResponse.getDefaultInstance());

  /** Delivers changes. */
  public static final MethodDescriptor<WatchRequest, WatchResponse> WATCH =
      streaming("Watch", WatchRequest.getDefaultInstance(), WatchResponse.getDefaultInstance());

  private Rpcs() {}

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> unary(
      String name, Q request, R response) {
    return method(MethodType.UNARY, name, request, response);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> streaming(
      String name, Q request, R response) {
    return method(MethodType.SERVER_STREAMING, name, request, response);
  }

  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(
      MethodType type, String name, Q request, R response) {
    return MethodDescriptor.<Q, R>newBuilder()
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
        .setRequestMarshaller(ProtoUtils.marshaller(request))
        .setResponseMarshaller(ProtoUtils.marshaller(response))
        .build();
  }
}
