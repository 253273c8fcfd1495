// Package marketplace is the border between us and the clouds that sell us: the
// adapter interface, and the values that cross it in our own words.
//
// It owns the shape of deliveries, events, records, receipts and the rules of a
// vendor as data. It leaves to the adapters (aws, gcp, azure) every vendor
// field name, to intake what a delivery does, to billing what is sent when.
//
//	delivery ─Verify─► verified ─Translate─► events ─► intake ─► subscription
//	billing ─► record ─Submit─► receipt ─► ledger
//
// The invariant that costs money: a Submit error of class Refused or Throttled
// means that nothing of the batch was recorded; every other error is Unsure.
package marketplace
