// Package identity says who is asking and what they may do.
//
//	operator key (file, 0600) ─bearer─► /v1 as admin
//	producer's key (apikey.go) ─bearer─► /v1/usage, for its sources
//	one-time link (printed at start) ─► operator session ─► operator pages
//	verified mail link ─┬► buyer session ─► the pages of one purchase
//	Microsoft sign-in ──┘
//
// It owns keys, sessions, one-time links, roles, and the check of who signed in at
// Microsoft. Tokens are random; only their SHA-256 is kept, so the database opens
// nothing. Expiry is wall time: a browser lives in it, whatever the business clock
// says. It leaves cookies and status codes to httpapi, and who a buyer is to
// subscription's claims.
//
// The invariant that costs trust: a session is made only by a confirmed mail
// link, a checked sign-in or a spent operator link, and a link is spent once, ever.
package identity
