package larder

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// sharedConnection makes calls of generated stubs.
type sharedConnection struct{ caller *caller }

// prepare returns the connection for a call, and the function that ends its use.
func (s *sharedConnection) prepare(
	ctx context.Context,
) (context.Context, *link, func(error), error) {
	if err := s.caller.checkOpen(); err != nil {
		return nil, nil, nil, err
	}
	c := s.caller.connections
	pairs := make([]string, 0, 4)
	for name, values := range c.base {
		pairs = append(pairs, name, values[0])
	}
	limited, cancel := context.WithTimeout(ctx, c.limits.call+c.limits.connect)
	defer cancel()
	header, err := c.header(limited, ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if header != "" {
		pairs = append(pairs, "authorization", header)
	}
	used, err := c.acquire()
	if err != nil {
		return nil, nil, nil, err
	}
	var once sync.Once
	end := func(err error) {
		once.Do(func() {
			if status.Code(err) == codes.Unauthenticated {
				c.authorization.refuse(header)
			}
			c.release(used)
		})
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...), used, end, nil
}

func (s *sharedConnection) Invoke(
	ctx context.Context, method string, request, reply any, options ...grpc.CallOption,
) error {
	ctx, used, end, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	err = used.conn.Invoke(ctx, method, request, reply, options...)
	end(err)
	return err
}

func (s *sharedConnection) NewStream(
	ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, used, end, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	// A connection that is replaced while the stream runs has a minute for it.
	options = append(options, grpc.OnFinish(end))
	stream, err := used.conn.NewStream(ctx, description, method, options...)
	if err != nil {
		end(err)
	}
	return stream, err
}
