package simulator

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// chance returns the random sequence for a purpose and a subject. Each has its own sequence,
// so that one more draw for one of them does not change the others.
func chance(seed uint64, purpose string, subject any) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d %s %v", seed, purpose, subject))))
}

// lognormal draws from a lognormal distribution.
func lognormal(r *rand.Rand, median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

// between draws from a uniform distribution.
func between(r *rand.Rand, low, high float64) float64 {
	return low + (high-low)*r.Float64()
}

// pick draws one of the choices.
func pick[T any](r *rand.Rand, choices ...T) T {
	return choices[r.IntN(len(choices))]
}

// weighted draws the index of one of the weights.
func weighted(r *rand.Rand, weights ...float64) int {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	x := r.Float64() * total
	for i, w := range weights {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// seconds converts seconds into a duration.
func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second))
}
