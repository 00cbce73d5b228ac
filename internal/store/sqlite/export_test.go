package sqlite

// MetaChecksum is the checksum of a row of the table meta.
func MetaChecksum(name, value string) int64 { return meta.checksum([]any{name, value}) }
