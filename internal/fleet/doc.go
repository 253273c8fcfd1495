// Package fleet owns what the replicas of one installation share and may lose at
// any moment: a budget of calls, word of what changed, a cache.
//
//	before a call ───► Budget ─ one count for all replicas ─► the call, or Throttled
//	after a commit ──► Bus ──── "this changed" ─────────────► whoever shows it reads it again
//	a repeated read ─► Cache ── Sessions ───────────────────► the store, when the cache has nothing
//
// It runs on one Redis (7 or newer) or on a Redis Cluster. With no URL the same
// interfaces are met inside the process, which is right for one replica. While
// Redis is lost, at the start too, nothing fails and nothing waits longer than
// one short time-out in a while:
//
//	Budget  each replica keeps to its share: the limit divided by Options.Replicas
//	Bus     hears its own replica at once and otherwise tells every watcher to look
//	        again every two seconds, and once more when Redis is back
//	Cache   has nothing
//
// It leaves to its callers what a name, a topic or a value means, and to the
// database all that must be true: no duplicate is found here and no lease is
// held. What the cache gives Redis is sealed, so whoever can write to Redis can
// make us slow but can make nobody a session. Names, topics and keys are readable
// there: ids and hashes may be in them, addresses and tokens may not.
//
// The invariant that would cost money: nothing here may decide whether something
// happens, only when. Every key ends by itself, and losing all of them is legal
// between any two lines of any caller.
package fleet
