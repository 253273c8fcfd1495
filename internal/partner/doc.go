// Package partner says which partner brought a customer, and keeps why.
//
// A customer has two axes. Its route is how its first purchase was sold: by a
// public listing, a private offer, a reseller. Its source is the partner that
// brought it, or nobody: a sale through a listing without a partner is a route
// and no partner. Both are computed, by Attribute, from evidence that is kept as
// it came:
//
//	marketplace ─► statements: offer, private, reseller ─┐
//	/r/<token> ─► cookie ─► claim page ─► link touch ────┼─► Attribute ─► route, source, each with its evidence
//	claim form ─► what the buyer said ───────────────────┘        └─► ValueByChannel
//
// Ranks, best first; within a rank the earliest counts:
//
//	1  the marketplace names a reseller that a partner is known by
//	2  the marketplace names an offer that was made for a partner
//	3  the buyer followed a partner's signed link before buying
//	4  the buyer named the partner on the claim form
//
// It leaves to the adapters what a vendor's field means, to subscription when a
// purchase began, to billing what was accepted, and to httpapi the cookie.
//
// The invariant that costs money: nobody is credited without evidence that can
// be shown, and evidence is appended, never edited, so that a tag can be argued
// about later.
package partner
