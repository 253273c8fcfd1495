package fault

import (
	"errors"
	"fmt"
	"time"
)

// Class says what kind of trouble an error is. The zero Class is unclassified:
// it is retried, so that a bug of ours never loses usage.
type Class string

const (
	Invalid     Class = "invalid"     // the caller's input is wrong; the caller must change it
	Forged      Class = "forged"      // a completed authenticity check failed
	Denied      Class = "denied"      // known caller, not allowed
	NotFound    Class = "not_found"   // no such thing
	Conflict    Class = "conflict"    // the thing changed meanwhile, or exists with other content
	Refused     Class = "refused"     // understood and refused for good
	Gone        Class = "gone"        // it existed; it will not come back
	Throttled   Class = "throttled"   // too fast; nothing was done
	Unavailable Class = "unavailable" // the other side or we cannot answer now; nothing was done
	Unsure      Class = "unsure"      // the request left, no answer came: it may have been done
	Unreadable  Class = "unreadable"  // genuine, but not in a form we understand
)

// Final reports whether repeating the same call can never help.
func (c Class) Final() bool {
	switch c {
	case Invalid, Forged, Denied, NotFound, Refused, Gone, Unreadable:
		return true
	}
	return false
}

// Error is a classified error.
type Error struct {
	Class      Class
	Public     string        // for the user: what is wrong, who must act; may be empty
	RetryAfter time.Duration // what the other side asked for; 0 when it did not say
	Err        error         // cause, for the log; may be nil
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Public != "":
		return e.Public + ": " + e.Err.Error()
	case e.Err != nil:
		return e.Err.Error()
	case e.Public != "":
		return e.Public
	}
	return string(e.Class)
}

func (e *Error) Unwrap() error { return e.Err }

// New makes a classified error whose text may be shown to users.
func New(c Class, format string, args ...any) *Error {
	return &Error{Class: c, Public: fmt.Sprintf(format, args...)}
}

// Wrap classifies err and keeps it as the cause; public may be empty.
func Wrap(c Class, err error, public string) *Error {
	return &Error{Class: c, Public: public, Err: err}
}

// ClassOf returns the class of the first classified error in err's chain, or ""
// when there is none.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ""
}

// Is reports whether err is of class c.
func Is(err error, c Class) bool { return err != nil && ClassOf(err) == c }
