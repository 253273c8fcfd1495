// Package embedded is a control plane that keeps tailnets in our own database and
// speaks Tailscale's API v2, so that the tailscale driver and the official client
// reach it unchanged under another base URL. It owns what that API answers here and
// the loopback control through which people and nodes come and go. It leaves to its
// Store where that is kept, and to provisioning what a tailnet is for.
//
// It carries no traffic and says so: in the header Tailmarket-Carries-Traffic of
// every answer, in its Capabilities, and so on every page. Unlike Tailscale's
// API-only tailnets it has people (HumanUsers).
//
// What it takes from the reference, and a looser copy would get wrong: 412 for a
// policy that changed meanwhile and 400 for a bad one; validation that answers 200
// and says no in the body; quoted ETags; lists of keys that show clients only unless
// all=true; expirySeconds in seconds; deleted keys that still answer, as invalid;
// "-" for the token's own tailnet; 403 for a missing scope; errors as {"message"}.
//
// The invariant that costs money: a secret is answered once and kept as a hash, and
// a node joins only with a key that is valid at that moment.
package embedded
