package larder

import (
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// never is the pushback of a server that does not want a retry.
const never = time.Duration(math.MinInt64)

// fromStatus is the error of a call of gRPC with the details of its trailers.
func fromStatus(err error, trailer metadata.MD) *Error {
	found := status.Convert(err)
	failure := &Error{
		Code: found.Code(), Message: found.Message(),
		answered: len(trailer) > 0 || len(found.Details()) > 0,
	}
	for _, detail := range found.Details() {
		// Details that cannot be read are errors in the list, and left out.
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			failure.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if failure.Reason == "" && failure.Code == codes.ResourceExhausted &&
		strings.Contains(failure.Message, "message larger than max") {
		// gRPC itself refuses it, with the code of a server that is full.
		failure.Reason = reasonMessageTooLarge
	}
	if texts := trailer.Get("grpc-retry-pushback-ms"); len(texts) > 0 {
		pushback := never
		if ms, err := strconv.ParseInt(texts[0], 10, 32); err == nil && ms >= 0 {
			pushback = time.Duration(ms) * time.Millisecond
		}
		failure.pushback = &pushback
	}
	return failure
}
