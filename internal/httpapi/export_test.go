package httpapi

// SmallLimits returns limits with few connections.
func SmallLimits(connections int) *Limits {
	l := NewLimits()
	l.clients.maxConnections = connections
	return l
}
