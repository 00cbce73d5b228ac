package schedule

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Forget forgets how long jobs take.
func (s *Scheduler) Forget() {
	fresh := New(s.quota.limits, s.epoch)
	s.pool = fresh.pool
	for _, a := range s.apis {
		f := fresh.api(a.name)
		for i, q := range f.queues {
			q.api, q.serving = a, a.queues[i].serving
		}
		a.models, a.queues, a.queue = f.models, f.queues, nil
	}
}

// DueAt returns when a job is due, whatever the quota allows.
func (s *Scheduler) DueAt(sequence uint64, now time.Time) time.Time {
	return s.reason(s.job(sequence), now, s.priceNow(now)).At
}

// Dump returns all of the internal state as text, a field per line.
func (s *Scheduler) Dump() string {
	d := dumper{known: make(map[uintptr]int)}
	d.dump(reflect.ValueOf(s))
	return string(d.text)
}

type dumper struct {
	text  []byte
	known map[uintptr]int // pointers that were followed
}

func (d *dumper) dump(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		n, found := d.known[v.Pointer()]
		if found || v.IsNil() || v.Type() == reflect.TypeFor[*time.Location]() {
			d.text = fmt.Append(d.text, "pointer ", n, v.IsNil())
			return
		}
		d.known[v.Pointer()] = len(d.known) + 1
		d.dump(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[sync.Mutex]() {
			return
		}
		for i := range v.NumField() {
			d.text = append(d.text, "\n"+v.Type().Field(i).Name+": "...)
			d.dump(v.Field(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			d.dump(key)
			d.dump(v.MapIndex(key))
		}
	case reflect.Slice, reflect.Array:
		d.text = append(strconv.AppendInt(d.text, int64(v.Len()), 10), ": "...)
		for i := range v.Len() {
			d.dump(v.Index(i))
		}
	case reflect.Float32, reflect.Float64:
		d.text = append(strconv.AppendFloat(d.text, v.Float(), 'g', -1, 64), ' ')
	default:
		d.text = fmt.Append(d.text, v, " ")
	}
}
