// Package provisioning makes the tailnet of a purchase be what the purchase
// wants, and says what is used in it. It owns the steps of a tailnet's life, the
// join key, the drivers' interface and the collectors. It leaves to subscription
// whether access is due, to billing what use costs, and to a driver how a control
// plane is spoken to.
//
//	wanted full       requested → creating → configuring (policy, settings, key) → active
//	wanted suspended  suspending (door, keys, policy) → suspended → configuring → active
//	wanted revoked    revoking (policy, keys, door) → revoked, kept until deleted
//
// Every step is stored before it is begun, may be killed at any line and is run
// again: what a second run finds is found by the tailnet's display name, which is
// made from our id, and by the descriptions of keys, which are made from our count.
//
// Two invariants cost money. The new tailnet's own credential is kept, encrypted,
// before anything else is done with it: without it the tailnet is an orphan of a
// paid quota. And a Sample never says more than was seen: what nobody looked at is
// covered, not invented.
package provisioning
