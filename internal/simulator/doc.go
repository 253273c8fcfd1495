// Package simulator is the marketplaces on the wire: hostile, seeded, and in charge of virtual time.
//
// It was written from the vendors' documents alone and shares no type with our adapters, so that two readings of
// those documents meet on the wire. It owns the virtual clock, the purchases, the bill, the faults, and a scripted buyer
// who walks through the app's pages the way a browser does. It leaves everything about the app to the app: it never looks
// into its database and only knows its base URL, its event endpoint and its pages.
//
//	Buy ─► deal ─► agenda ─► deliveries (HTTPS, SQS, Pub/Sub), buyer visits
//	                 ▲              │
//	Advance ─► clock ┘  waits for ──┴── and for the app's idle report, then steps
//
// Files: market.go says what a marketplace is; clock.go (time, agenda, idle), faults.go, delivery.go, buyer.go and browser.go
// serve all of them; the aws_, gcp_ and azure_ files (with entra) are one each.
//
// Invariant: the bill holds what was accepted, once per slot, first write wins; no fault may change it. Only a Google told
// to know no operation again bills each report. A fault is a
// function of (seed, kind, subject, nth attempt), never of the order in which calls arrive.
package simulator
