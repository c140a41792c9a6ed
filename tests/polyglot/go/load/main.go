// Command load calls replicas of Larder in turns until the file $LARDER_STOP exists, and prints how
// many calls failed. A replica may stop and start again meanwhile: a client follows its GOAWAY. With
// $LARDER_TLS_CA the replicas have TLS, and their certificates may change: each worker connects again
// and again.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "larder.test/polyglot/gen/larder/v1"
)

const (
	workers       = 4
	tlsRounds     = 5 // per connection
	namespace     = "load-go"
	serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}],
		"methodConfig": [{"name": [{}], "timeout": "15s"}]}`
)

func main() {
	replicas := manual.NewBuilderWithScheme("replicas")
	var state resolver.State
	for address := range strings.SplitSeq(os.Getenv("LARDER_ADDRESSES"), ",") {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: address}},
		})
	}
	replicas.InitialState(state)
	credentials, hasTLS := transport()
	connect := func() *grpc.ClientConn {
		connection, err := grpc.NewClient(
			"replicas:///larder",
			grpc.WithResolvers(replicas),
			grpc.WithTransportCredentials(credentials),
			grpc.WithDefaultServiceConfig(serviceConfig),
		)
		if err != nil {
			panic(err)
		}
		return connection
	}

	var calls, failed atomic.Int64
	count := func(err error) {
		calls.Add(1)
		if err != nil {
			failed.Add(1)
			fmt.Println(err)
		}
	}
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			connection := connect()
			for number := 0; !stopped(); number++ {
				if hasTLS && number%tlsRounds == tlsRounds-1 {
					connection.Close()
					connection = connect()
				}
				larder := pb.NewCacheServiceClient(connection)
				callAll(larder, fmt.Sprintf("%d-%d", worker, number%50), count)
			}
			connection.Close()
		})
	}
	group.Wait()
	fmt.Printf("calls=%d failed=%d\n", calls.Load(), failed.Load())
	if failed.Load() > 0 {
		os.Exit(1)
	}
}

func transport() (_ credentials.TransportCredentials, hasTLS bool) {
	authority := os.Getenv("LARDER_TLS_CA")
	if authority == "" {
		return insecure.NewCredentials(), false
	}
	tls, err := credentials.NewClientTLSFromFile(authority, "")
	if err != nil {
		panic(err)
	}
	return tls, true
}

func callAll(larder pb.CacheServiceClient, key string, count func(error)) {
	ctx := context.Background()
	_, err := larder.Get(ctx, &pb.GetRequest{Namespace: namespace, Key: key})
	count(err)
	value := &pb.Value{Kind: &pb.Value_Text{Text: key}}
	answer, err := larder.GetOrFetch(ctx, &pb.GetOrFetchRequest{
		Namespace: namespace, Key: key, Wait: durationpb.New(time.Second),
	})
	count(err)
	// Under the lease, if one was granted.
	_, err = larder.Set(ctx, &pb.SetRequest{
		Namespace: namespace, Key: key, Value: value, LeaseToken: answer.GetLease().GetToken(),
	})
	count(err)
	_, err = larder.Delete(ctx, &pb.DeleteRequest{Namespace: namespace, Key: key})
	count(err)
}

func stopped() bool {
	_, err := os.Stat(os.Getenv("LARDER_STOP"))
	return err == nil
}
