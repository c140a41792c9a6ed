package larder

import (
	"errors"
	"io"

	"google.golang.org/grpc"
)

// receive reads a stream to its end.
func receive[R any](stream grpc.ServerStreamingClient[R], each func(*R)) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(message)
	}
}
