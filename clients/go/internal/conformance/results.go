package conformance

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	larder "larder.test/clients/go"
)

var codeNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN",
	codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED",
	codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

// classes are the names of the contract for the sentinels.
var classes = map[string]error{
	"InvalidArgument": larder.ErrInvalidArgument, "NotFound": larder.ErrNotFound,
	"FailedPrecondition": larder.ErrFailedPrecondition,
	"Unauthenticated":    larder.ErrUnauthenticated,
	"PermissionDenied":   larder.ErrPermissionDenied,
	"ResourceExhausted":  larder.ErrResourceExhausted, "Unavailable": larder.ErrUnavailable,
	"DeadlineExceeded": larder.ErrDeadlineExceeded, "Aborted": larder.ErrAborted,
	"Unimplemented": larder.ErrUnimplemented,
}

// ofLibrary reports whether an error is one of the library or of a wrong argument.
func ofLibrary(err error) bool {
	var failure *larder.Error
	var argument *larder.ArgumentError
	var encode *larder.EncodeError
	var key *larder.KeyError
	return errors.As(err, &failure) || errors.As(err, &argument) || errors.As(err, &encode) ||
		errors.As(err, &key)
}

func errorAsData(err error) any {
	if err == nil {
		return nil
	}
	data := Fields{"message": err.Error(), "reason": "", "code": nil, "class": []any{}}
	var failure *larder.Error
	if errors.As(err, &failure) {
		named := []any{"LarderError"}
		for name, sentinel := range classes {
			if errors.Is(err, sentinel) {
				named = append(named, name)
			}
		}
		data["class"], data["code"], data["reason"] = named, codeNames[failure.Code], failure.Reason
		if failure.RetryAfter > 0 {
			data["retry_after"] = failure.RetryAfter
		}
	}
	return data
}

func resultAsData(result larder.Result[any]) Fields {
	data := Fields{
		"outcome": result.Outcome.String(), "found": result.Found(), "value": result.Value,
		"version": result.Version, "tags": list(result.Tags), "tier": result.Tier.String(),
		"degraded": result.Degraded, "error": errorAsData(result.Err), "joined": result.Joined,
		"age": result.Age, "ttl_remaining": result.TTLRemaining,
	}
	if result.Fill != nil {
		data["stored"] = writeAsData(*result.Fill)
	}
	return data
}

func writeAsData(write larder.Write) Fields {
	data := Fields{
		"stored": write.Stored, "version": write.Version, "degraded": write.Degraded,
		"error": errorAsData(write.Err), "ttl": write.TTL,
	}
	if write.Reason != "" {
		data["reason"] = string(write.Reason)
	}
	return data
}

func deletionAsData(deletion larder.Deletion) Fields {
	return Fields{
		"existed": deletion.Existed, "deleted": deletion.Deleted, "queued": deletion.Queued,
	}
}

func byKey[R any](results map[string]R, asData func(R) Fields) Fields {
	made := Fields{}
	for key, result := range results {
		made[key] = asData(result)
	}
	return Fields{"results": made}
}

func isCancelled(err error) bool {
	return errors.Is(err, context.Canceled)
}

// counter is the sum of a counter over all namespaces.
func counter(client *larder.Client, name string) uint64 {
	var sum uint64
	for _, counts := range client.Counters() {
		sum += map[string]uint64{
			"hits": counts.Hits, "misses": counts.Misses, "stale": counts.Stale,
			"negatives": counts.Negatives, "near_hits": counts.NearHits, "loads": counts.Loads,
			"load_errors": counts.LoadErrors, "joined": counts.Joined,
			"fail_open": counts.FailOpen, "fills_refused": counts.FillsRefused,
			"undecodable": counts.Undecodable, "errors": counts.Errors, "retries": counts.Retries,
		}[name]
	}
	return sum
}

func timeOf(args Fields, name string, set func(time.Duration)) error {
	value, given := args[name]
	if !given {
		return nil
	}
	if value == "forever" {
		set(larder.Forever)
		return nil
	}
	d, ok := parseDuration(value)
	if !ok {
		// A program could not be compiled.
		return errors.New(name + " is not a time.Duration")
	}
	set(d)
	return nil
}
