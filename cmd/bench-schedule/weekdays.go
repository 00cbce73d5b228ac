package main

import (
	"fmt"
	"io"
)

// printWeekdays prints the median and the 95th percentile of the delay by weekday, and those of simple policies.
func printWeekdays(w io.Writer, tr *trace, r result) {
	fmt.Fprintf(w, "\n%-14s %6s %8s %8s", tr.name, "ends", "p50", "p95")
	all := []result{r}
	for _, p := range policies {
		fmt.Fprintf(w, " | %8s %8s", p, "p95")
		all = append(all, peerOf(tr, p))
	}
	fmt.Fprintln(w)
	for day, name := range []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"} {
		fmt.Fprintf(w, "%-14s %6d", name, len(r.weekdays[day]))
		for i := range all {
			if i > 0 {
				fmt.Fprint(w, " |")
			}
			delays := all[i].weekdays[day]
			fmt.Fprintf(w, " %8.0f %8.0f", quantile(delays, 0.5), quantile(delays, 0.95))
		}
		fmt.Fprintln(w)
	}
}
