package simulator

import (
	"math"
	"math/rand/v2"
	"time"
)

// What a random sequence is for: each purpose has its own, so that one more
// draw for one of them does not change the others.
const (
	forLife uint64 = iota + 1
	forResult
	forWebhook
	forRequestID
	forRequest // and above: plus the number of the request
)

// chance returns the random sequence of an ID for a purpose.
func chance(seed uint64, id string, purpose uint64) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(scatter(h^scatter(seed)), scatter(seed^scatter(purpose))))
}

// scatter is the finalizer of SplitMix64: near numbers end far apart.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// lognormal draws from the lognormal distribution with this median.
func lognormal(r *rand.Rand, median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

// between draws evenly from low to high.
func between(r *rand.Rand, low, high float64) float64 {
	return low + (high-low)*r.Float64()
}

// pick draws one of the choices.
func pick[T any](r *rand.Rand, choices []T) T {
	return choices[r.IntN(len(choices))]
}

// seconds is a duration given in seconds.
func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second))
}

// requestID draws a UUID (version 4).
func requestID(seed, number uint64) string {
	const digits = "0123456789abcdef"
	r := chance(seed, "", forRequestID+number<<8)
	id := []byte("xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx")
	for i, c := range id {
		switch c {
		case 'x':
			id[i] = digits[r.IntN(16)]
		case 'y':
			id[i] = digits[8+r.IntN(4)]
		}
	}
	return string(id)
}
