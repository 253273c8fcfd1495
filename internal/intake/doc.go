// Package intake is the one door for what marketplaces and their buyers send:
//
//	delivery ─Verify─► ─Translate─► one transaction: keep, de-duplicate, apply, mark ─► answer
//	token    ─Resolve─►            one transaction: customer, subscription, claim   ─► claim link
//	refresh, sweep: ask the marketplace ─► observed events, through the same door
//
// It owns the order of those steps, the encrypted deliveries, the quarantine and
// the sweep's cursor. It leaves to the adapters what a message means, to
// subscription what an event does, to httpapi what the sender is told.
//
// A message is a hint: every accepted one marks a refresh of its purchase, so a
// lost, repeated or reordered message changes nothing that the marketplace's API
// can still tell. What is not authentic is counted and not kept; what is
// authentic is never refused: it is applied, or quarantined with a reason.
//
// The invariant that costs money: the 2xx is given after the commit that holds
// both the message and everything it caused.
package intake
