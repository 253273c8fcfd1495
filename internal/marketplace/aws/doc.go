// Package aws speaks AWS Marketplace, for SaaS listings with concurrent
// agreements: a purchase is one licence (LicenseArn), an agreement is an
// attribute of it with a history.
//
// It owns every field name, header and quirk of EventBridge's marketplace
// events, of ResolveCustomer, of the agreement and entitlement services, and of
// BatchMeterUsage. It leaves to intake what an event does, to billing what is
// sent when and what an answer means for money, to due when to try again: it
// never retries.
//
//	config.go     what an operator sets
//	rules.go      the vendor's metering rules, as data
//	verify.go     is a delivery what it claims to be
//	translate.go  what it says, in our words
//	resolve.go    who a buyer's token belongs to
//	read.go       what is true now
//	submit.go     one batch, one call, one receipt for each record
//	listen.go     the queue
//	errors.go     the vendor's errors, as classes
//
// There is nothing to decide: in this mode AWS takes no approval, activation or
// change from a seller through these services, so Decide refuses every kind.
//
// The invariant that costs money: Submit says Refused or Throttled only when
// nothing of the batch can have been recorded. Whatever is not known is Unsure.
package aws
