package jobs

// Declared returns all totals.
func Declared() []*Total { return declared }

// CountRequest counts a request, to be shown with the next commit.
func (j *Jobs) CountRequest(r Request) { j.countNow(r.addTo) }
