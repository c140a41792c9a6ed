package conformance

import (
	"time"
)

func (r *Run) openGate(step Fields) error {
	r.gates[step["open"].(string)].open()
	return nil
}

func (r *Run) cancel(step Fields) error {
	r.tasks[step["cancel"].(string)].cancel()
	return nil
}

func (r *Run) advance(step Fields) error {
	d := durationOr(step["advance"], 0)
	if step["real"] == true {
		time.Sleep(d)
	} else {
		r.place.Advance(d)
	}
	return nil
}

func (r *Run) server(step Fields) error { return r.place.SetState(step["server"].(string)) }

func (r *Run) fault(step Fields) error {
	delay := durationOr(step["delay"], 0).Milliseconds()
	_, err := r.place.Do("fault", Fields{"kind": step["fault"], "delay": delay})
	return err
}

func (r *Run) script(step Fields) error {
	_, err := r.place.Do("script", Fields{"rules": step["script"]})
	return err
}

func (r *Run) connections(step Fields) error {
	answer, err := r.place.Do("connections", nil)
	if err != nil {
		return err
	}
	return match(step["connections"], answer, "connections", r.bound)
}

// loading waits until loaders have begun so often.
func (r *Run) loading(step Fields) error {
	deadline := time.Now().Add(stateLimit)
	for name, number := range step["loading"].(Fields) {
		for {
			begun, _ := r.loaders[name].count()
			if int64(begun) >= number.(int64) {
				break
			}
			if time.Now().After(deadline) {
				return mismatch("%s has begun %d times", name, begun)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

func (r *Run) loads(step Fields) error {
	for name, number := range step["loads"].(Fields) {
		begun, _ := r.loaders[name].count()
		if err := match(number, int64(begun), "loads of "+name, r.bound); err != nil {
			return err
		}
	}
	named, _ := step["loaded_keys"].(Fields)
	for name, keys := range named {
		_, loaded := r.loaders[name].count()
		if err := match(keys, loaded, "keys of "+name, r.bound); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) counters(step Fields) error {
	for name, number := range step["counters"].(Fields) {
		found := counter(r.clients["a"], name[len("larder.client."):])
		if err := match(number, int64(found), name, r.bound); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) calls(step Fields) error {
	wanted := step["calls"].(Fields)
	request := Fields{}
	if method, ok := wanted["method"]; ok {
		request["method"] = method
	}
	answer, err := r.place.Do("calls", request)
	if err != nil {
		return err
	}
	if err := r.bind(step, answer); err != nil {
		return err
	}
	if count, ok := wanted["count"]; ok {
		if err := match(count, answer["count"], "number of calls", r.bound); err != nil {
			return err
		}
	}
	made, _ := answer["calls"].([]any)
	if each, ok := wanted["each"]; ok {
		if len(made) == 0 {
			return mismatch("there are no calls")
		}
		for _, one := range made {
			if err := match(each, one, "call", r.bound); err != nil {
				return err
			}
		}
	}
	first, ok := wanted["first"]
	if !ok {
		return nil
	}
	number, _ := wanted["number"].(int64)
	if int(number) >= len(made) {
		return mismatch("there are %d calls", len(made))
	}
	return match(first, made[number], "call", r.bound)
}

func (r *Run) watched(step Fields) error {
	events, ended := r.watches[step["watched"].(string)].state()
	if step["ended"] == true && !ended {
		return mismatch("the iterator goes on")
	}
	at := 0
	expected, _ := step["expect"].([]any)
	for _, wanted := range expected {
		for at < len(events) && match(wanted, events[at], "event", r.bound) != nil {
			at++
		}
		if at == len(events) {
			return mismatch("no %s in %s", shown(wanted), shown(events))
		}
		at++
	}
	if never, ok := step["never"]; ok {
		for _, one := range events {
			if match(never, one, "event", r.bound) == nil {
				return mismatch("%s is there", shown(one))
			}
		}
	}
	return nil
}
