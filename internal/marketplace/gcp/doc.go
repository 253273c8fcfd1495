// Package gcp speaks Google Cloud Marketplace, for SaaS listings: a purchase is
// one entitlement, whatever account or product it belongs to.
//
// It owns every field name, header and quirk of the sign-up token, of the Pub/Sub
// notifications (push and pull), of the Partner Procurement API and of Service
// Control. It leaves to intake what an event does, to billing what is sent when and
// what an answer means for money, to due when to try again: it never retries.
//
//	config.go     what an operator sets
//	credentials.go  as whom we call
//	rules.go      the vendor's metering rules, as data
//	keys.go       the keys that tokens are signed with
//	verify.go     is a delivery what it claims to be
//	translate.go  what it says, in our words
//	resolve.go    who a buyer's token belongs to
//	decide.go     approving accounts, purchases and changes
//	read.go       what is true now
//	submit.go     one batch, one report, one receipt for each record
//	check.go      may a purchase be reported
//	listen.go     the pull subscription
//	errors.go     the vendor's errors, as classes
//
// Google's messages are hints: they name an entitlement and what happened, and
// neither account nor product. The reader tells those.
//
// The invariant that costs money: an operation id is made from the record's key
// alone, so that the same usage has the same id for ever and no other usage has it;
// and whatever is not known to be refused is Unsure.
package gcp
