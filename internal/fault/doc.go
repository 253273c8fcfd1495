// Package fault is the one vocabulary of errors. The code that knows what went
// wrong gives it a Class; internal/due turns the class into a verdict (retry,
// postpone, stop) and internal/httpapi turns it into an HTTP answer. Nothing
// else switches on errors.
//
// Public is text a user may read: what is wrong and who must act. It never
// holds a token, an address or a body. The cause stays in Unwrap for the log.
//
// The invariant that costs money: Unsure is not a failure. A request that left
// and whose answer did not arrive may have been recorded.
package fault
