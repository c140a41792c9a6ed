package larder

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// Forever is the longest TTL that the server permits.
const Forever = time.Duration(math.MaxInt64)

// longest is 100 years, which is more than any server permits: the server shortens it.
const longest = 100 * 365 * 24 * time.Hour

// toWire cuts to milliseconds; a positive duration is at least one.
func toWire(d time.Duration) *durationpb.Duration {
	switch {
	case d > longest:
		d = longest
	case d > 0 && d < time.Millisecond:
		d = time.Millisecond
	}
	return durationpb.New(d.Truncate(time.Millisecond))
}

func notNegative(d time.Duration, argument string) error {
	if d < 0 {
		return wrong(argument, "must not be negative, got %v", d)
	}
	return nil
}

func positive(d time.Duration, argument string) error {
	if d <= 0 {
		return wrong(argument, "must be positive, got %v", d)
	}
	return nil
}
