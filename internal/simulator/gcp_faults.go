package simulator

// Kinds that only Google Cloud Marketplace knows. Of the shared ones it has repeat, reorder, delay, drop (events), throttle,
// 5xx, accept_then_close (report), read_fault, empty_page, and forged_webhook (push).
const (
	KindOperationError Kind = "operation_error" // an operation comes back in reportErrors of a 200, nothing recorded for it
	KindNamelessError  Kind = "nameless_error"  // an entry of reportErrors names no operation; one of them was not recorded
	KindAcceptThen5xx  Kind = "accept_then_5xx" // report: some operations are recorded, then the answer is a 503
	KindCheckTrouble   Kind = "check_trouble"   // check: Google's own trouble as an error code inside a 200
	KindDecisionFault  Kind = "decision_fault"  // approve, reject and patch: a 503, before or after it was done
	KindLateIdentity   Kind = "late_identity"   // usageReportingId is missing for minutes after activation
	KindKeyRotation    Kind = "key_rotation"    // Google signs with a key nobody has fetched yet, twice a day
)
