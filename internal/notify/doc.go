// Package notify is what leaves for people: mail, from an outbox.
//
// A room queues a Mail in the transaction that causes it (the transaction's
// QueueMail, which also marks the due row); the worker, Service.Send, hands it
// to the mail server. Without a mail server it is held, and the operator's
// outbox shows it. Address and text are encrypted at rest, and no log line,
// error text or metric holds either.
//
//	queued ─Send─► sent │ held (no mail server) │ refused (for good)
//
// It owns the states of a mail and the SMTP conversation. It leaves to the
// rooms what a mail says, and to due when a failed one is tried again.
//
// The invariant that costs trust: a mail is written at most once per cause (it
// commits with it) and sent at least once; a repeated one carries the same
// Message-ID, so the reader's mailbox can tell.
package notify
