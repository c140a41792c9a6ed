package conformance

import (
	"context"
	"errors"
	"strings"
	"time"

	larder "larder.test/clients/go"
)

func (r *Run) step(step Fields) error {
	if every, ok := step["for_each"]; ok {
		plain := Fields{}
		for name, value := range step {
			if name != "for_each" {
				plain[name] = value
			}
		}
		for _, item := range expand(every, r.bound).([]any) {
			r.bound["$each"] = item
			if err := r.step(plain); err != nil {
				return err
			}
		}
		return nil
	}
	if name, ok := step["as"].(string); ok {
		return r.beside(name, step)
	}
	limit := durationOr(step["wait_until"], 0)
	if step["wait_until"] == true {
		limit = stateLimit
	}
	deadline := time.Now().Add(limit)
	for {
		err := r.once(step)
		var unexpected *Mismatch
		var failure *larder.Error
		passes := errors.As(err, &unexpected) || errors.As(err, &failure)
		if err == nil || !passes || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// beside begins a call, which a later step joins.
func (r *Run) beside(name string, step Fields) error {
	if step["do"] == "watch" {
		on, err := r.handle(handleName(step))
		if err != nil {
			return err
		}
		options, err := optionsOf(step["args"].(Fields))
		if err != nil {
			return err
		}
		r.watches[name] = watch(on.Namespace, pick[larder.WatchOption](options))
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	begun := &task{cancel: cancel, done: make(chan struct{})}
	r.tasks[name] = begun
	go func() {
		defer close(begun.done)
		begun.result, begun.err = r.perform(ctx, step)
	}()
	time.Sleep(pause)
	return nil
}

func (r *Run) once(step Fields) error {
	begun := time.Now()
	if err := r.act(step); err != nil {
		return err
	}
	took := time.Since(begun)
	if took < durationOr(step["at_least"], 0) || took > durationOr(step["within"], stepLimit) {
		return mismatch("it took %v", took)
	}
	return nil
}

func (r *Run) act(step Fields) error {
	for kind, do := range map[string]func(Fields) error{
		"open": r.openGate, "loading": r.loading, "loads": r.loads, "watched": r.watched,
		"calls": r.calls, "counters": r.counters, "advance": r.advance,
		"connections": r.connections,
		"fault":       r.fault, "script": r.script, "server": r.server, "cancel": r.cancel,
	} {
		if _, ok := step[kind]; ok && step["do"] == nil {
			return do(step)
		}
	}
	if _, ok := step["do"]; ok {
		result, err := r.perform(context.Background(), step)
		return r.check(step, result, err)
	}
	joined := r.tasks[step["join"].(string)]
	<-joined.done
	return r.check(step, joined.result, joined.err)
}

func (r *Run) check(step Fields, result any, err error) error {
	if raises, ok := step["raises"].(Fields); ok {
		if err == nil {
			return mismatch("there is no error: %s", shown(result))
		}
		return r.checkError(raises, err)
	}
	if err != nil {
		return err
	}
	if expected, ok := step["expect"].(Fields); ok {
		if err := matchStep(expected, result, r.bound); err != nil {
			return err
		}
	}
	return r.bind(step, result)
}

func (r *Run) bind(step Fields, result any) error {
	names, _ := step["bind"].(Fields)
	for name, field := range names {
		r.bound[name] = result.(Fields)[field.(string)]
	}
	return nil
}

func plainText(value any) string {
	text, _ := value.(string)
	return strings.ReplaceAll(strings.ToLower(text), "_", "")
}

func (r *Run) checkError(expected Fields, err error) error {
	var failed *LoaderFailed
	isExpected := ofLibrary(err)
	switch {
	case expected["cancelled"] == true:
		isExpected = isCancelled(err)
	case expected["loader"] == true:
		isExpected = errors.As(err, &failed)
	}
	if !isExpected {
		return err
	}
	if !strings.Contains(plainText(err.Error()), plainText(expected["message"])) {
		return mismatch("the message is %s", err.Error())
	}
	data := errorAsData(err).(Fields)
	for _, name := range []string{"class", "code", "reason", "retry_after"} {
		if wanted, ok := expected[name]; ok {
			if err := match(wanted, data[name], "error."+name, r.bound); err != nil {
				return err
			}
		}
	}
	return nil
}

// matchStep checks the result of a step. Results of several calls are a list, or a map by key.
func matchStep(expected Fields, actual any, b bound) error {
	every, isList := actual.([]any)
	results, isMap := Fields(nil), false
	if fields, ok := actual.(Fields); ok {
		if results, isMap = fields["results"].(Fields); isMap {
			for _, one := range results {
				every = append(every, one)
			}
		}
	}
	if !isList && !isMap {
		return match(expected, actual, "result", b)
	}
	for name, item := range expected {
		switch name {
		case "count":
			if err := match(item, int64(len(every)), "count", b); err != nil {
				return err
			}
		case "all":
			for _, one := range every {
				if err := match(item, one, "result", b); err != nil {
					return err
				}
			}
		case "results":
			if err := match(item, results, "results", b); err != nil {
				return err
			}
		case "matching":
			for _, each := range item.([]any) {
				wanted, found := each.(Fields), int64(0)
				for _, one := range every {
					if match(wanted["of"], one, "result", b) == nil {
						found++
					}
				}
				if err := match(wanted["count"], found, "number", b); err != nil {
					return mismatch("of %s: %v", shown(wanted["of"]), err)
				}
			}
		default:
			return errors.New("no expectation " + name + " of several results")
		}
	}
	return nil
}
