package telemetry

// The names of log attributes. The same thing has the same name everywhere; a
// name that is missing here is missing for a reason or belongs here.
const (
	Error        = "error"
	RequestID    = "request_id"
	DeliveryID   = "delivery_id"
	Marketplace  = "marketplace"
	Channel      = "channel" // https, sqs or pull
	Customer     = "customer"
	Subscription = "subscription"
	Tailnet      = "tailnet"
	Record       = "record"
	Attempt      = "attempt"
	Meter        = "meter"
	Hour         = "hour"
	Finding      = "finding"
	Kind         = "kind" // of a due row
	Subject      = "subject"
	Class        = "class" // of an error, see package fault
	State        = "state"
	Method       = "method"
	Route        = "route" // the pattern and never the path: paths hold tokens
	Status       = "status"
	Duration     = "duration"
	Count        = "count"
	Address      = "address" // host:port, never a person's
	Version      = "version"
)
