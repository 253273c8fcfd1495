// Package subscription decides what a purchase is: who bought it (customer),
// what was agreed (terms, agreements), what it continues (lineage), who on the
// buyer's side it belongs to (claims), and whether it may be used now.
//
// State is computed. Every message and every act of ours is merged into Facts,
// and the merge does not depend on order or repetition; StateOf reads Facts and
// the time, Effects says which work a change of facts makes necessary. The three
// are pure and know no store, clock or vendor word.
//
//	event ─Apply─► Facts ─StateOf(now)─► State      what a page shows
//	fact  ─Note──►       ─AccessOf(now)► Access     what provisioning makes true
//	                     ─Wishes(now)──► decisions  what the marketplace is to be told
//	                     ─Effects──────► due rows   provision, collect, seal, close, refresh, decide
//
// AWS Marketplace, concurrent agreements (mode C), in one table:
//
//	entitled by     License Updated, or an observation that says entitled; a grant
//	order           claimed and entitled, in either order → provision
//	ending begins   Ended with CANCELLED, EXPIRED, TERMINATED; License Deprovisioned;
//	                an observation that says ended; the successor's first entitled instant
//	never ends      Ended with RENEWED or REPLACED; a cancellation request; an agreed end that is only near
//	ended           access revoked and nothing queued (closed_at), whatever comes later
//
// Google Cloud, and Azure with and without automatic activation:
//
//	            Google                      Azure                         Azure, automatic
//	order       approve the account, then   provision, then activate;     Subscribe or Subscribed entitles;
//	            the entitlement; ACTIVE     Subscribed entitles           provision before anybody came; to
//	            entitles                                                  activate only confirms
//	ending      CANCELLING, CANCELLED,      Unsubscribe                   as Azure
//	            ACCOUNT_DELETED
//	never ends  PENDING_CANCELLATION,       autoRenew off, Suspend        as Azure
//	            which dates an end
//	a change    waits until we approve it,  answered with its message,    as Azure
//	            and then for its date       told afterwards
//
// Decisions are level-triggered: what an observation asks for is due until the
// marketplace's answer to that observation is final, and the reader tells what
// became of it (Wishes, Decide). A change that waits is a row of terms, never a
// state. Terms that return are a row of their own (agreed), so that each hour has
// the plan that was in force in it.
//
// A renewal or replacement under a new licence is a new subscription of the same
// lineage. It takes over the predecessor's claim, name and tailnet (TailnetOf);
// the predecessor ends where it begins and its access is kept, not revoked.
//
// A claim is one visit. The first person who confirms an e-mail address, or is
// proved by the marketplace's sign-in, holds the purchase; the same person again and
// whom the holder invites are admitted. At Google an account speaks for its
// purchases: who holds one holds them all. The confirmed address is what
// provisioning waits for; the name is not: a network is made under a suggested name
// and can be renamed while it lives.
//
// It leaves to intake what a message is, to provisioning how access is made, to
// billing what is charged.
//
// The invariant that costs money: grants and ends compare by the vendor's time,
// never by arrival. A late grant does not revive an ended purchase, and on a tie
// the end wins.
package subscription
