package httpapi

// LimitConnections is limitConnections, for tests with few connections.
var LimitConnections = limitConnections
