package larder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Error is an error of a call. Programs match Code and Reason, or use [errors.Is] with a sentinel
// such as [ErrUnavailable]; the message is for people.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is stable, such as `VALUE_TOO_LARGE`; empty if the server gave none.
	Reason string
	// Message describes the error for people.
	Message string
	// RetryAfter is the time after which a retry may succeed; zero if there is no such time.
	RetryAfter time.Duration
	// Metadata belongs to the reason, such as the name of a limit.
	Metadata map[string]string

	pushback *time.Duration
	cause    error
	// answered: the server has sent it, rather than the connection or this process.
	answered bool
}

// Error returns the code, the reason and the message.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("larder: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("larder: %s (%s): %s", e.Code, e.Reason, e.Message)
}

// Unwrap returns the cause, such as the error of a token provider.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether the target is the sentinel of the error's code or of its reason.
func (e *Error) Is(target error) bool {
	sentinel, ok := target.(*sentinelError)
	return ok && sentinel.matches(e)
}

// GRPCStatus is the status with its details, for programs that answer gRPC calls themselves.
func (e *Error) GRPCStatus() *status.Status {
	var details []protoadapt.MessageV1
	if e.Reason != "" {
		details = append(details, &errdetails.ErrorInfo{
			Reason: e.Reason, Domain: errorDomain, Metadata: e.Metadata,
		})
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	plain := status.New(e.Code, e.Message)
	if detailed, err := plain.WithDetails(details...); err == nil {
		return detailed
	}
	return plain
}

// errorDomain is that of the reasons.
const errorDomain = "larder"

type sentinelError struct {
	name    string
	matches func(*Error) bool
}

func (s *sentinelError) Error() string { return "larder: " + s.name }

func ofCode(name string, wanted ...codes.Code) error {
	return &sentinelError{name: name, matches: func(e *Error) bool {
		for _, code := range wanted {
			if e.Code == code {
				return true
			}
		}
		return false
	}}
}

// Errors for [errors.Is], by the code of an [Error].
var (
	// ErrInvalidArgument is an argument that the server does not accept.
	ErrInvalidArgument = ofCode("invalid argument", codes.InvalidArgument, codes.OutOfRange)
	// ErrNotFound is a namespace that the operator has not named, with strict namespaces.
	ErrNotFound = ofCode("not found", codes.NotFound)
	// ErrFailedPrecondition is a call that does not apply to the entry. One after Close is none.
	ErrFailedPrecondition error = &sentinelError{
		name: "failed precondition", matches: func(e *Error) bool {
			return e.Code == codes.FailedPrecondition && e.Reason != reasonClosed
		},
	}
	// ErrUnauthenticated is a call with no or wrong credentials.
	ErrUnauthenticated = ofCode("unauthenticated", codes.Unauthenticated)
	// ErrPermissionDenied is a call that the credentials do not permit.
	ErrPermissionDenied = ofCode("permission denied", codes.PermissionDenied)
	// ErrResourceExhausted is a limit: the size of a value, a quota, or an overloaded server.
	ErrResourceExhausted = ofCode("resource exhausted", codes.ResourceExhausted)
	// ErrUnavailable is a server or a store that cannot be reached.
	ErrUnavailable = ofCode("unavailable", codes.Unavailable)
	// ErrDeadlineExceeded is an answer that took longer than the time limit of the call.
	ErrDeadlineExceeded = ofCode("deadline exceeded", codes.DeadlineExceeded)
	// ErrAborted is a call before which other writes came again and again.
	ErrAborted = ofCode("aborted", codes.Aborted)
	// ErrUnimplemented is a call that the server does not have.
	ErrUnimplemented = ofCode("unimplemented", codes.Unimplemented)
	// ErrClosed is a call after Close.
	ErrClosed error = &sentinelError{name: "closed", matches: func(e *Error) bool {
		return e.Reason == reasonClosed
	}}
	// ErrValueTooLarge is a value over the limit of the namespace.
	ErrValueTooLarge error = &sentinelError{name: "value too large", matches: func(e *Error) bool {
		return e.Reason == reasonTooLarge
	}}
	// ErrMessageTooLarge is a message over a limit of the server or of this client.
	ErrMessageTooLarge error = &sentinelError{
		name: "message too large", matches: func(e *Error) bool {
			return e.Reason == reasonMessageTooLarge
		},
	}
)

const (
	reasonClosed   = "CLIENT_CLOSED"
	reasonTooLarge = "VALUE_TOO_LARGE"
	// reasonMessageTooLarge is a message over a limit of the server, or of gRPC in this process.
	reasonMessageTooLarge = "MESSAGE_TOO_LARGE"
	reasonBreaker         = "BREAKER_OPEN"
	reasonNoToken         = "NO_TOKEN"
)

// ErrNoValue is the error of [Cache.Fetch] and [Fetch] if there is no value: a cached absence, or a
// miss without a loader.
var ErrNoValue = errors.New("larder: there is no value")

// ArgumentError is a wrong argument of a call or an option. Nothing was sent.
type ArgumentError struct {
	// Argument is its name.
	Argument string
	// Why is the reason.
	Why string
}

// Error names the argument.
func (e *ArgumentError) Error() string { return fmt.Sprintf("larder: %s: %s", e.Argument, e.Why) }

func wrong(argument, format string, values ...any) error {
	return &ArgumentError{Argument: argument, Why: fmt.Sprintf(format, values...)}
}

// EncodeError is a value that cannot be sent.
type EncodeError struct {
	// Path is the place in the value, such as `value.total[1]`.
	Path string
	// Err is the reason.
	Err error
}

// Error names the place.
func (e *EncodeError) Error() string { return fmt.Sprintf("larder: %s: %v", e.Path, e.Err) }

// Unwrap returns the reason.
func (e *EncodeError) Unwrap() error { return e.Err }

// DecodeError is a value from the cache that the codec cannot read.
type DecodeError struct{ Err error }

// Error describes what the codec found.
func (e *DecodeError) Error() string { return fmt.Sprintf("larder: undecodable value: %v", e.Err) }

// Unwrap returns the error of the codec.
func (e *DecodeError) Unwrap() error { return e.Err }

// PanicError is the panic of a loader, or of a codec while a value is computed. Each call that
// waits for the value panics with it; a panic in the background is logged. That of a token provider
// is the cause of an error.
type PanicError struct {
	// Value is the argument of the panic.
	Value any
	// Stack is that of the function that panicked.
	Stack []byte
}

// Error shows the panic with its stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("larder: panic: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the argument of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func isMistake(reason string) bool {
	return reason == reasonTooLarge || reason == reasonMessageTooLarge || reason == reasonClosed
}

// isOutage reports whether the cache is away, slow or full, rather than the call wrong.
func isOutage(err error) bool {
	// Not errors.As: the cause of a context that has ended may be an error of another call.
	failure, ok := err.(*Error)
	if !ok || isMistake(failure.Reason) {
		return false
	}
	switch failure.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted,
		codes.Internal, codes.Unknown, codes.Canceled:
		return true
	}
	return false
}

// ended is the error of a call whose context has ended. It is the error of the context for
// errors.Is, and its cause, too.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	var own *Error
	if errors.As(cause, &own) && own.Reason == reasonClosed {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

func closedError() error {
	return &Error{
		Code: codes.FailedPrecondition, Reason: reasonClosed, Message: "the client is closed",
	}
}
