package polyglot

// Errors, metadata, deadlines, cancellation, health, reflection and statistics.

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

func TestInvalidArgument(t *testing.T) {
	manyParams := map[string]string{}
	for number := range 65 {
		manyParams[fmt.Sprintf("p%d", number)] = ""
	}
	for _, c := range []struct {
		field, limit string
		change       func(*pb.SetRequest)
	}{
		{"namespace", "64", func(r *pb.SetRequest) { r.Namespace = strings.Repeat("n", 65) }},
		{"namespace", "", func(r *pb.SetRequest) { r.Namespace = "Not Allowed" }},
		{"key", "1024", func(r *pb.SetRequest) { r.Key = strings.Repeat("k", 1025) }},
		{"key", "", func(r *pb.SetRequest) { r.Key = "" }},
		{"params", "64", func(r *pb.SetRequest) { r.Params = manyParams }},
		{"ttl", "", func(r *pb.SetRequest) { r.Ttl = durationpb.New(0) }},
		{"tags[1]", "128", func(r *pb.SetRequest) { r.Tags = []string{"fine", strings.Repeat("t", 129)} }},
		{"value.json", "", func(r *pb.SetRequest) { r.Value = jsonText("{not json") }},
	} {
		t.Run(c.field+c.limit, func(t *testing.T) {
			request := &pb.SetRequest{Namespace: newNamespace(), Key: "k", Value: text("x")}
			c.change(request)
			violations, info := refusal(t, codes.InvalidArgument, larder.Set, request)
			equal(t, "reason", info.Reason, "INVALID_ARGUMENT")
			equal(t, "violations", len(violations), 1)
			equal(t, "field", violations[0].Field, c.field)
			equal(t, "field in the metadata", info.Metadata["field"], c.field)
			if c.limit != "" {
				equal(t, "limit in the metadata", info.Metadata["limit"], c.limit)
			}
			if description := violations[0].Description; description == "" || !strings.Contains(description, c.limit) {
				t.Fatalf("the limit is not named in %q", description)
			}
		})
	}
}

func TestValueTooLarge(t *testing.T) {
	request := &pb.SetRequest{Namespace: newNamespace(), Key: "k", Value: data(make([]byte, 1<<20+1))}
	violations, info := refusal(t, codes.ResourceExhausted, larder.Set, request)
	equal(t, "reason", info.Reason, "VALUE_TOO_LARGE")
	equal(t, "field", info.Metadata["field"], "value")
	equal(t, "limit", info.Metadata["limit"], "1048576")
	if len(violations) != 1 || !strings.Contains(violations[0].Description, "1048576") {
		t.Fatalf("the limit is not named in %v", violations)
	}
}

func TestMetadata(t *testing.T) {
	namespace := newNamespace()
	var header metadata.MD
	first := func(name string) string { return strings.Join(header.Get(name), ", ") }
	seconds := func(name string, low, high int) {
		t.Helper()
		if value, err := strconv.Atoi(first(name)); err != nil || value < low || value > high {
			t.Fatalf("%s: got %q, want %d to %d", name, first(name), low, high)
		}
	}
	get := &pb.GetRequest{Namespace: namespace, Key: "k"}
	call(t, larder.Get, get, grpc.Header(&header))
	equal(t, "x-cache", first("x-cache"), "MISS")
	call(t, larder.Set, &pb.SetRequest{
		Namespace: namespace, Key: "k", Value: text("x"), Ttl: durationpb.New(time.Minute),
	})
	for _, read := range []func(){
		func() { call(t, larder.Get, get, grpc.Header(&header)) },
		func() {
			call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: "k"}, grpc.Header(&header))
		},
	} {
		header = nil
		read()
		equal(t, "x-cache", first("x-cache"), "HIT")
		seconds("x-cache-age", 0, 10)
		seconds("x-cache-ttl-remaining", 40, 60)
	}
}

func TestDeadline(t *testing.T) {
	namespace := newNamespace()
	granted := lease(t, namespace, "k")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	started := time.Now()
	answer, err := larder.GetOrFetch(ctx, &pb.GetOrFetchRequest{
		Namespace: namespace, Key: "k", Wait: durationpb.New(30 * time.Second),
	})
	// The server answers contended just before the deadline.
	if status.Code(err) != codes.DeadlineExceeded && answer.GetContended() == nil {
		t.Fatalf("got %v, %v", answer, err)
	}
	if took := time.Since(started); took < 200*time.Millisecond || took > 3*time.Second {
		t.Fatalf("the call with a deadline of 300 ms took %v", took)
	}
	filled := fill(t, namespace, "k", granted.Token, "x")
	equal(t, "another caller's deadline does not affect the lease", filled.Result, pb.SetResult_SET_RESULT_STORED)
}

func TestCancellation(t *testing.T) {
	namespace := newNamespace()
	granted := lease(t, namespace, "k")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := make(chan error, 1)
	go func() {
		_, err := larder.GetOrFetch(ctx, &pb.GetOrFetchRequest{
			Namespace: namespace, Key: "k", Wait: durationpb.New(30 * time.Second),
		})
		waiting <- err
	}()
	get := &pb.GetRequest{Namespace: namespace, Key: "k"}
	call(t, larder.Get, get)
	cancel()
	equal(t, "the waiting call", status.Code(<-waiting), codes.Canceled)
	filled := fill(t, namespace, "k", granted.Token, strings.Repeat("x", 1<<16))
	equal(t, "a cancelled caller does not affect the lease", filled.Result, pb.SetResult_SET_RESULT_STORED)

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	keys := slices.Repeat([]*pb.KeyRef{{Namespace: namespace, Key: "k"}}, 1000)
	stream, err := larder.BatchGet(ctx, &pb.BatchGetRequest{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	chunk, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "outcome", chunk.Results[0].Outcome, pb.Outcome_OUTCOME_HIT)
	cancel()
	for err == nil {
		_, err = stream.Recv()
	}
	equal(t, "the stream", status.Code(err), codes.Canceled)
	equal(t, "the connection still works", call(t, larder.Get, get).Outcome, pb.Outcome_OUTCOME_HIT)
}

func TestHealth(t *testing.T) {
	health := healthpb.NewHealthClient(connection)
	for _, service := range []string{"", pb.CacheService_ServiceDesc.ServiceName, "liveness", "store"} {
		request := &healthpb.HealthCheckRequest{Service: service}
		equal(t, service, call(t, health.Check, request).Status, healthpb.HealthCheckResponse_SERVING)
		watch, err := health.Watch(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		first, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "watch "+service, first.Status, healthpb.HealthCheckResponse_SERVING)
	}
	_, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "no.such.Service"})
	equal(t, "an unknown service", status.Code(err), codes.NotFound)
}

func TestReflection(t *testing.T) {
	stream, err := reflectionpb.NewServerReflectionClient(connection).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}

	service := pb.CacheService_ServiceDesc.ServiceName
	var listed []string
	list := &reflectionpb.ServerReflectionRequest_ListServices{}
	answer := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: list})
	for _, service := range answer.GetListServicesResponse().GetService() {
		listed = append(listed, service.Name)
	}
	if !slices.Contains(listed, service) || !slices.Contains(listed, "grpc.health.v1.Health") {
		t.Fatalf("listed: %v", listed)
	}

	symbol := &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}
	answer = ask(&reflectionpb.ServerReflectionRequest{MessageRequest: symbol})
	want := comparableFile(protodesc.ToFileDescriptorProto(pb.File_larder_v1_cache_service_proto))
	for _, encoded := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		served := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(encoded, served); err != nil {
			t.Fatal(err)
		}
		if served.GetName() == want.GetName() {
			equalMessage(t, "the served proto is not the one of this checkout", comparableFile(served), want)
			return
		}
	}
	t.Fatalf("%s is not among the files that describe %s", want.GetName(), service)
}

// comparableFile removes optional output of proto compilers.
func comparableFile(file *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	file.SourceCodeInfo = nil
	var forget func([]*descriptorpb.DescriptorProto)
	forget = func(messages []*descriptorpb.DescriptorProto) {
		for _, message := range messages {
			for _, field := range message.Field {
				field.JsonName = nil
			}
			forget(message.NestedType)
		}
	}
	forget(file.MessageType)
	return file
}

func TestStats(t *testing.T) {
	namespace := newNamespace()
	set := &pb.SetRequest{Namespace: namespace, Key: "k", Value: text("x")}
	for range 3 {
		call(t, larder.Set, set)
	}
	set.Condition = &pb.SetRequest_IfAbsent{IfAbsent: true}
	call(t, larder.Set, set)
	for _, key := range []string{"k", "k", "k", "k", "missing", "missing"} {
		call(t, larder.Get, &pb.GetRequest{Namespace: namespace, Key: key})
	}
	token := lease(t, namespace, "leased").Token
	call(t, larder.GetOrFetch, &pb.GetOrFetchRequest{Namespace: namespace, Key: "leased", Wait: noWait})
	call(t, larder.Abandon, &pb.AbandonRequest{Namespace: namespace, Key: "leased", LeaseToken: token})
	call(t, larder.Delete, &pb.DeleteRequest{Namespace: namespace, Key: "k"})
	call(t, larder.InvalidateNamespace, &pb.InvalidateNamespaceRequest{Namespace: namespace})

	stats := eventually(t, func() (*pb.StatsResponse, bool) {
		stats := call(t, larder.Stats, &pb.StatsRequest{Namespaces: []string{namespace}})
		return stats, len(stats.Namespaces) > 0 && stats.Namespaces[0].Counted.Total.Invalidations > 0
	})
	equal(t, "namespaces", len(stats.Namespaces), 1)
	equal(t, "namespace", stats.Namespaces[0].Namespace, namespace)
	counted := stats.Namespaces[0].Counted
	for _, counters := range []*pb.Counters{counted.Total, counted.LastHour, counted.LastDay} {
		between(t, "median of the hits", 0, counters.HitLatency.GetP50(), time.Second)
		counters.HitLatency, counters.MissLatency = nil, nil
		equalMessage(t, "counters", counters, &pb.Counters{
			Hits: 4, Misses: 4, HitRate: proto.Float64(0.5), Sets: 3, SetsRefused: 1, Deletes: 1, Invalidations: 1,
			LeasesGranted: 1, LeasesRefused: 1, LeasesAbandoned: 1, Contended: 1,
		})
	}
	equal(t, "degraded", stats.Degraded, false)
	equal(t, "reachable", stats.Store.Reachable, true)
	equal(t, "kind of "+stats.Store.Kind, slices.Contains([]string{"memory", "redis"}, stats.Store.Kind), true)
	if off := time.Since(stats.CollectedAt.AsTime()); math.Abs(off.Minutes()) > 1 {
		t.Fatalf("collected_at is off by %v", off)
	}
}
