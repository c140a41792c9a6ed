package larder

import (
	"testing"
	"time"
)

func TestATrialThatHasNotEndedDoesNotHoldUpTheNext(t *testing.T) {
	var b breaker
	for range breakerFailures {
		b.failure(false)
	}
	for range 2 {
		end := time.Now().Add(10 * time.Second)
		for _, trial := b.allow(); !trial; _, trial = b.allow() {
			if time.Now().After(end) {
				t.Fatal("no call tries")
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	b.cancelled(true)
	if _, trial := b.allow(); !trial {
		t.Error("no call tries after one whose caller has left")
	}
}
