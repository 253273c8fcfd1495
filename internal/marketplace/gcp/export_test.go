package gcp

import "time"

// Hurry makes the adapter wait less for checks.
func (a *Adapter) Hurry(look time.Duration) { a.look = look }

// OperationID is what a record's key becomes.
func OperationID(key string) string { return operationID(key) }

// Quantity is how decimal text is written.
var Quantity = quantity
