package httpapi

// LimitConnectionsTo is LimitConnections with a limit of one's own.
var LimitConnectionsTo = limitConnections
