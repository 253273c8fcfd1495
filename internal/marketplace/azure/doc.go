// Package azure speaks the Microsoft commercial marketplace, for SaaS offers: a
// purchase is one SaaS subscription, its customer the beneficiary's tenant.
//
// It owns every field name, header and quirk of the fulfilment API, of the
// connection webhook and its tokens, and of the metering API. It leaves to
// intake what an event does, to billing what is sent when and what an answer
// means for money, to due when to try again: it never retries.
//
//	config.go     what an operator sets
//	rules.go      the vendor's metering rules, as data
//	verify.go     is a delivery what it claims to be, and does the API confirm it
//	keys.go       the directory's signing keys
//	translate.go  what a delivery says, in our words
//	resolve.go    who a buyer's token belongs to
//	decide.go     activation, answers to operations, changes and ends of our own
//	read.go       what is true now
//	submit.go     one batch, one call, one receipt for each record
//	client.go     one call
//	wire.go       the vendor's objects, read leniently
//	errors.go     the vendor's errors, as classes
//
// A webhook's token proves who calls and not what the body says. So Verify asks
// for the operation that the body names, Kind says what came of it, and an event
// carries only what was confirmed: the rest is read by the refresh that follows.
//
// A 4xx is Microsoft's word for "the publisher refuses the change". Verify
// therefore answers Forged only after a completed, failed check; all trouble of
// ours or theirs is Unavailable, which is sent again.
//
// The invariant that costs money: Submit says Refused or Throttled only when
// nothing of the batch can have been recorded. Whatever is not known is Unsure.
package azure
