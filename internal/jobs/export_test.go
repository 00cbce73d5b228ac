package jobs

// Declared returns all totals.
func Declared() []*Total { return declared }
