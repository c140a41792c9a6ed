//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
)

// stubTimeout is the deadline of the calls of bare stubs: without one a program can hang.
const stubTimeout = 5 * time.Second

var errMiss = errors.New("a value is not there")

// stubs compares with generated stubs, which make the same calls and read the same fields.
func stubs(turn time.Duration) error {
	server, cache, stop, err := open(nil)
	if err != nil {
		return err
	}
	defer stop()
	conn, err := grpc.NewClient(
		server.Target, grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stub, names := larderpb.NewCacheServiceClient(conn), keys()
	for _, parallel := range []int{1, inFlight} {
		err := compare("Get", parallel, turn, way{"bare stubs", rawGet(stub)}, getOf(cache))
		if err != nil {
			return err
		}
	}
	if err := compare("Set", inFlight, turn,
		way{"bare stubs", rawSet(stub)}, setOf(cache)); err != nil {
		return err
	}
	for _, parallel := range []int{1, 4} {
		err := compare("GetMany of 100", parallel, turn,
			way{"bare stubs", rawMany(stub, names)}, manyOf(cache, names))
		if err != nil {
			return err
		}
	}
	return compare("GetOrFetch, a hit", inFlight, turn,
		way{"bare stubs", rawFetch(stub, names)}, fetchOf(cache, names))
}

func rawGet(stub larderpb.CacheServiceClient) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, stubTimeout)
		defer cancel()
		answer, err := stub.Get(ctx, &larderpb.GetRequest{Namespace: "bench", Key: "key1"})
		if err == nil && answer.Value.GetText() != value {
			err = errMiss
		}
		return err
	}
}

func rawSet(stub larderpb.CacheServiceClient) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, stubTimeout)
		defer cancel()
		_, err := stub.Set(ctx, &larderpb.SetRequest{
			Namespace: "bench", Key: "key1",
			Value: &larderpb.Value{Kind: &larderpb.Value_Text{Text: value}},
		})
		return err
	}
}

func rawMany(stub larderpb.CacheServiceClient, names []string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, stubTimeout)
		defer cancel()
		request := &larderpb.BatchGetRequest{}
		for _, name := range names {
			request.Keys = append(request.Keys, &larderpb.KeyRef{Namespace: "bench", Key: name})
		}
		stream, err := stub.BatchGet(ctx, request)
		if err != nil {
			return err
		}
		found := make(map[string]string, len(names))
		for {
			answer, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			for _, result := range answer.Results {
				found[names[len(found)]] = result.Value.GetText()
			}
		}
		if found[names[len(names)-1]] != value {
			return errMiss
		}
		return nil
	}
}

// inTurn are keys one after the other: calls for one key would join each other.
func inTurn(names []string) func() string {
	var last atomic.Uint64
	return func() string { return names[last.Add(1)%uint64(len(names))] }
}

func rawFetch(stub larderpb.CacheServiceClient, names []string) func(context.Context) error {
	next := inTurn(names)
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, stubTimeout)
		defer cancel()
		answer, err := stub.GetOrFetch(ctx,
			&larderpb.GetOrFetchRequest{Namespace: "bench", Key: next()})
		if err == nil && answer.GetFound().GetValue().GetText() != value {
			err = errMiss
		}
		return err
	}
}

func getOf(cache *larder.Cache[string]) way {
	return way{"this client", func(ctx context.Context) error {
		result, err := cache.Get(ctx, "key1")
		if err == nil && result.Value != value {
			err = errMiss
		}
		return err
	}}
}

func setOf(cache *larder.Cache[string]) way {
	return way{"this client", func(ctx context.Context) error {
		_, err := cache.Set(ctx, "key1", value)
		return err
	}}
}

func manyOf(cache *larder.Cache[string], names []string) way {
	return way{"this client", func(ctx context.Context) error {
		results, err := cache.GetMany(ctx, names)
		if err == nil && results[names[len(names)-1]].Value != value {
			err = errMiss
		}
		return err
	}}
}

func fetchOf(cache *larder.Cache[string], names []string) way {
	next := inTurn(names)
	load := func(context.Context) (string, error) { return "", errMiss }
	return way{"this client", func(ctx context.Context) error {
		result, err := cache.GetOrFetch(ctx, next(), load)
		if err == nil && result.Value != value {
			err = errMiss
		}
		return err
	}}
}
