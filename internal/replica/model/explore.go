package main

import "slices"

// maxStates is after how many states exploring ends: they take up to 7 GB.
const maxStates = 8_000_000

// A result is what exploring a model has shown.
type result struct {
	states    int
	partly    bool     // there are more than maxStates
	violation string   // empty: every state is right
	trace     []string // the steps to the violation, as few as possible
}

// explore visits every state that can be reached from the first one, breadth first. next calls its argument with each
// step from a state, and where that leads.
func explore[S comparable](first S, next func(S, func(step string, to S)), violation func(S) string) result {
	type edge struct {
		from int32
		step string
	}
	seen := map[S]struct{}{first: {}}
	states, edges := []S{first}, []edge{{}}
	for i := 0; i < len(states); i++ {
		if len(states) > maxStates {
			return result{states: i, partly: true}
		}
		if why := violation(states[i]); why != "" {
			r := result{states: len(states), violation: why}
			for at := int32(i); at > 0; at = edges[at].from {
				r.trace = append(r.trace, edges[at].step)
			}
			slices.Reverse(r.trace)
			return r
		}
		next(states[i], func(step string, to S) {
			if _, known := seen[to]; !known {
				seen[to] = struct{}{}
				states, edges = append(states, to), append(edges, edge{int32(i), step})
			}
		})
	}
	return result{states: len(states)}
}
