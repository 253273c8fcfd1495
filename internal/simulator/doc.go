// Package simulator is the marketplaces on the wire: hostile, seeded, and in charge of virtual time.
//
// It was written from the vendors' documents alone and shares no type with our adapters, so that two readings of
// those documents meet on the wire. It owns the virtual clock, the purchases, the bill, the faults, and a scripted buyer
// who walks through the app's pages the way a browser does. It leaves everything about the app to the app: it never looks
// into its database and only knows its base URL, its event endpoint and its pages.
//
//	Buy ─► agreement ─► agenda ─► deliveries (HTTPS, SQS), buyer visits
//	                      ▲              │
//	Advance ─► clock ─────┘  waits for ──┴── and for the app's idle report, then steps
//
// Files: clock.go (time, agenda, idle), faults.go, delivery.go, buyer.go and browser.go serve every marketplace; the aws_
// files are one marketplace, and the next ones stand beside them.
//
// Invariant: the bill holds what was accepted, once per slot, first write wins; no fault may change it. A fault is a
// function of (seed, kind, subject, nth attempt), never of the order in which calls arrive.
package simulator
