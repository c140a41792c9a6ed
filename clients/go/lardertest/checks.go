package lardertest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"larder.test/clients/go/internal/globs"
	"larder.test/clients/go/larderpb"
)

// failure is an error of the server.
func failure(
	code codes.Code, reason, message string, details map[string]string, retry time.Duration,
) error {
	made := status.New(code, message)
	all := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: reason, Domain: "larder", Metadata: details,
	}}
	if retry > 0 {
		all = append(all, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	if reason == "" && retry == 0 {
		return made.Err()
	}
	detailed, err := made.WithDetails(all...)
	if err != nil {
		return made.Err()
	}
	return detailed.Err()
}

// invalid is the error for an argument that the server does not accept.
func invalid(field, format string, values ...any) error {
	return failure(codes.InvalidArgument, "INVALID_ARGUMENT",
		field+" "+fmt.Sprintf(format, values...), map[string]string{"field": field}, 0)
}

func storeUnavailable() error {
	return failure(codes.Unavailable, "STORE_UNAVAILABLE", "the store does not answer", nil,
		time.Second)
}

// positive is a duration that must be positive when it is set; zero: it is not set.
func positive(d *durationpb.Duration, field string) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if d.AsDuration() <= 0 {
		return 0, invalid(field, "must be positive")
	}
	return d.AsDuration(), nil
}

var namespaceName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func checkNamespace(namespace, field string) error {
	if !namespaceName.MatchString(namespace) {
		return invalid(field+"namespace", "is not a name of a namespace")
	}
	return nil
}

func checkKey(at located, field string) error {
	if err := checkNamespace(at.GetNamespace(), field); err != nil {
		return err
	}
	switch {
	case at.GetKey() == "":
		return invalid(field+"key", "must not be empty")
	case len(at.GetKey()) > 1024:
		return invalid(field+"key", "is too long")
	case len(at.GetParams()) > 64:
		return invalid(field+"params", "has too many pairs")
	}
	return nil
}

func checkTags(tags []string, field string) error {
	if len(tags) > 32 {
		return invalid(field, "has %d elements, the limit is 32", len(tags))
	}
	for i, tag := range tags {
		if tag == "" || len(tag) > 128 {
			return invalid(field+"["+strconv.Itoa(i)+"]", "must have 1 to 128 bytes")
		}
	}
	return nil
}

// checkGlob is the matcher of a glob within the server's limits.
func checkGlob(glob, field string) (func(string) bool, error) {
	matches, ok := globs.Matcher(glob)
	if !ok {
		return nil, invalid(field, "is not a pattern of at most 1024 bytes and 32 wildcards")
	}
	return matches, nil
}

func (f *Fake) checkValue(value *larderpb.Value, namespace string) error {
	if value.GetKind() == nil {
		return invalid("value", "must be set")
	}
	limit := f.settings(namespace).MaxValueBytes
	if size := len(value.GetData()) + len(value.GetText()) + len(value.GetJson()); size > limit {
		return failure(codes.ResourceExhausted, "VALUE_TOO_LARGE",
			fmt.Sprintf("value is %d bytes long, the limit of namespace %s is %d", size, namespace,
				limit),
			map[string]string{"field": "value", "limit": strconv.Itoa(limit)}, 0)
	}
	if kind, ok := value.Kind.(*larderpb.Value_Json); ok && !json.Valid([]byte(kind.Json)) {
		return invalid("value.json", "is not valid JSON")
	}
	return nil
}
