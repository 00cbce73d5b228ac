// Command model explores models of the protocol by which several replicas share a PostgreSQL database.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A variant is a model within bounds, and what exploring it must show.
type variant struct {
	name string
	// breaks is the invariant that the variant breaks, as it lacks a part of the protocol; empty: all hold.
	breaks string
	// long variants take more than a second or two.
	long    bool
	explore func() result
}

func variants() []variant {
	return slices.Concat(ownershipVariants(), quotaVariants(), inboxVariants(), deliveryVariants(), leaseVariants(),
		distributionVariants(), agreementVariants(), keyVariants())
}

// right reports whether exploring the variant has shown what it must.
func (v variant) right(r result) bool {
	invariant, _, _ := strings.Cut(r.violation, ":")
	return invariant == v.breaks
}

func main() {
	only := flag.String("only", "", "explore only the variants whose names contain this")
	short := flag.Bool("short", false, "leave out the variants that take long")
	flag.Parse()
	code := 0
	for _, v := range variants() {
		if !strings.Contains(v.name, *only) || *short && v.long {
			continue
		}
		began := time.Now()
		r := v.explore()
		verdict := "holds"
		if r.partly {
			verdict = "holds as far as it was explored"
		}
		if r.violation != "" {
			verdict = "BREAKS " + r.violation
		}
		fmt.Printf("%-70s %s (%d states, %s)\n", v.name, verdict, r.states, time.Since(began).Round(time.Millisecond))
		for _, step := range r.trace {
			fmt.Println("     ", step)
		}
		if !v.right(r) {
			fmt.Printf("      WRONG: expected %q\n", v.breaks)
			code = 1
		}
	}
	os.Exit(code)
}
