package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	larder "larder.test/clients/go"
)

const keys = 100

// lots has the name of each call as often as it is made, of 100.
var lots = slices.Concat(slices.Repeat([]string{"get"}, 25), slices.Repeat([]string{"near"}, 35),
	slices.Repeat([]string{"fetch"}, 30), slices.Repeat([]string{"many"}, 5),
	slices.Repeat([]string{"set"}, 4), slices.Repeat([]string{"delete"}, 1))

// outages are codes of errors that a delete may return.
var outages = []codes.Code{
	codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted,
	codes.Internal, codes.Unknown, codes.Canceled,
}

// proof is a value with its key and a checksum, as all workers write and check it.
type proof struct {
	Key    string `json:"key"`
	Writer string `json:"writer"`
	Seq    int64  `json:"seq"`
	Sum    uint32 `json:"sum"`
}

var sequence atomic.Int64

func (p proof) sum() uint32 {
	return crc32.ChecksumIEEE(fmt.Appendf(nil, "%s|%s|%d", p.Key, p.Writer, p.Seq))
}

func prove(key string) proof {
	made := proof{Key: key, Writer: "go", Seq: sequence.Add(1)}
	made.Sum = made.sum()
	return made
}

// facts are those that the callers note.
type facts struct {
	Calls    map[string]int `json:"calls"`
	Hits     int            `json:"hits"`
	Near     int            `json:"near"`
	Degraded int            `json:"degraded"`
	Refused  int            `json:"refused"`
	Longest  float64        `json:"longest"`
	Slowest  string         `json:"slowest"`
	Raised   []string       `json:"raised"`
	Wrong    []string       `json:"wrong"`
}

// load is callers that read and write until the end.
type load struct {
	entries, near *larder.Cache[proof]
	pause         time.Duration
	ending        chan struct{}
	callers       sync.WaitGroup
	mu            sync.Mutex
	facts         facts
}

func begin(client *larder.Client, callers int, pause time.Duration) (*load, error) {
	l := &load{pause: pause, ending: make(chan struct{})}
	l.facts = facts{Calls: map[string]int{}, Raised: []string{}, Wrong: []string{}}
	var err error
	if l.entries, err = larder.For[proof](client, namespace); err != nil {
		return nil, err
	}
	if l.near, err = larder.For[proof](client, namespace, larder.NearCache{}); err != nil {
		return nil, err
	}
	for range callers {
		l.callers.Go(l.run)
	}
	return l, nil
}

func (l *load) run() {
	for {
		select {
		case <-l.ending:
			return
		case <-time.After(l.pause):
		}
		call, began := lots[rand.N(len(lots))], time.Now()
		if err := l.make(call, someKey()); err != nil {
			l.failed(call, err)
		}
		l.mu.Lock()
		l.facts.Calls[call]++
		if took := time.Since(began).Seconds(); took > l.facts.Longest {
			l.facts.Longest, l.facts.Slowest = took, call
		}
		l.mu.Unlock()
	}
}

// someKey is one of a few keys that are asked for often.
func someKey() string {
	share := rand.Float64()
	return fmt.Sprintf("k%d", int(keys*share*share))
}

func (l *load) make(call, key string) error {
	ctx := context.Background()
	switch call {
	case "get":
		read, err := l.entries.Get(ctx, key)
		return l.read(key, read, err)
	case "near":
		read, err := l.near.Get(ctx, key)
		return l.read(key, read, err)
	case "fetch":
		read, err := l.entries.GetOrFetch(ctx, key, func(context.Context) (proof, error) {
			time.Sleep(time.Millisecond + rand.N(49*time.Millisecond))
			return prove(key), nil
		})
		if err == nil && !read.Found() {
			l.note(&l.facts.Wrong, fmt.Sprintf("%s: no value of a loader: %+v", key, read))
		}
		return l.read(key, read, err)
	case "many":
		some := map[string]bool{}
		for range 20 {
			some[someKey()] = true
		}
		reads, err := l.entries.GetMany(ctx, slices.Collect(maps.Keys(some)))
		for each, read := range reads {
			err = errors.Join(err, l.read(each, read, nil))
		}
		return err
	case "set":
		_, err := l.near.Set(ctx, key, prove(key), larder.TTL(20*time.Second))
		return err
	}
	_, err := l.near.Delete(ctx, key)
	return err
}

func (l *load) read(key string, read larder.Result[proof], err error) error {
	if err != nil {
		return err
	}
	l.mu.Lock()
	if read.Degraded {
		l.facts.Degraded++
	}
	if read.Found() {
		l.facts.Hits++
	}
	if read.Tier == larder.TierClient {
		l.facts.Near++
	}
	l.mu.Unlock()
	if read.Found() && (read.Value.Key != key || read.Value.Sum != read.Value.sum()) {
		l.note(&l.facts.Wrong, fmt.Sprintf("%s: %+v", key, read.Value))
	}
	if read.Err != nil && !read.Found() && !read.Degraded {
		l.note(&l.facts.Wrong, fmt.Sprintf("%s: %v", key, read.Err))
	}
	return nil
}

func (l *load) failed(call string, err error) {
	var failure *larder.Error
	if call == "delete" && errors.As(err, &failure) && slices.Contains(outages, failure.Code) {
		l.mu.Lock()
		l.facts.Refused++
		l.mu.Unlock()
		return
	}
	l.note(&l.facts.Raised, fmt.Sprintf("%s: %v", call, err))
}

func (l *load) note(list *[]string, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(*list) < 20 {
		*list = append(*list, text)
	}
}

// snapshot is what the callers saw until now.
func (l *load) snapshot() facts {
	l.mu.Lock()
	defer l.mu.Unlock()
	copied := l.facts
	copied.Calls = maps.Clone(l.facts.Calls)
	copied.Raised, copied.Wrong = slices.Clone(l.facts.Raised), slices.Clone(l.facts.Wrong)
	return copied
}

func (l *load) end() facts {
	close(l.ending)
	l.callers.Wait()
	return l.snapshot()
}
