// Package usage sends facts of use to tailmarket's POST /v1/usage, so that each
// is billed once, whatever dies in between.
//
//	Client   one call, repeated with the same ids until it is answered
//	Spool    events on disk first, sent in batches when the server can be reached
//
// An event's identity is its (Source, ID): the server counts a pair once, however
// often it is sent. So give an event the id of its fact (a request's id; a job and
// its hour), never one made at the moment of sending. A client that is killed, cut
// off or refused sends the identical event again, and the answer says "duplicate"
// when it was stored before.
//
// It needs the standard library only. What the fields and outcomes mean is in
// docs/usage.md.
//
// The invariant that costs money: an event leaves the spool only after the server
// has answered for it by name.
package usage
