package larder

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// sharedConnection makes calls of generated stubs.
type sharedConnection struct{ caller *caller }

func (s *sharedConnection) prepare(ctx context.Context) (context.Context, *link, error) {
	if err := s.caller.checkOpen(); err != nil {
		return nil, nil, err
	}
	c := s.caller.connections
	var pairs []string
	for name, values := range c.base {
		pairs = append(pairs, name, values[0])
	}
	if c.authorization != nil {
		header, err := c.authorization.get(ctx)
		if err != nil {
			return nil, nil, err
		}
		pairs = append(pairs, "authorization", header)
	}
	used, err := c.acquire()
	return metadata.AppendToOutgoingContext(ctx, pairs...), used, err
}

func (s *sharedConnection) Invoke(
	ctx context.Context, method string, request, reply any, options ...grpc.CallOption,
) error {
	ctx, used, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	defer s.caller.connections.release(used)
	return used.conn.Invoke(ctx, method, request, reply, options...)
}

func (s *sharedConnection) NewStream(
	ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, used, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	// A connection that is replaced while the stream runs has a minute for it.
	defer s.caller.connections.release(used)
	return used.conn.NewStream(ctx, description, method, options...)
}
