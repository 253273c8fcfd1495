package gcp

// OperationID is what a record's key becomes.
func OperationID(key string) string { return operationID(key) }

// Quantity is how decimal text is written.
var Quantity = quantity
