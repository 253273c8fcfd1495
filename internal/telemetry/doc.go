// Package telemetry owns how the program tells about itself: the slog handler,
// the names of log attributes, the metrics, and what was built.
//
// A logger is made once, in cmd, and passed in; nothing here is global. Request
// and delivery ids travel in the context and are added by the handler, so that
// no caller forgets them. What is worth a line or a number is decided by the
// rooms; whether a number is worth waking somebody is in docs/runbooks.
//
// Every station of the pipeline exports three numbers: what went in, what came
// out, and the age of the oldest thing that waits. The age is what alerts: it
// is asked for when the metrics are read, so it grows although the worker that
// should have reported it is dead.
//
// The invariant that would cost money: no token, key, body or e-mail address
// reaches a log. Callers do not pass them; the handler's masks are the last
// defence, not the first.
package telemetry
