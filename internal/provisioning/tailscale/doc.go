// Package tailscale is the driver of Tailscale's API v2, and of whatever speaks it:
// the embedded control plane is reached by the same code under another base URL. It
// owns the calls, their order within one method, and what the vendor's answers mean.
// It decides nothing: when a tailnet is made, cut or metered is provisioning's.
//
// The official client is used where it has the call; tailnets of an organisation
// and tokens it does not have (v2.9.0), so those are here. Its traps are met in one
// place, the transport: an error body that is not JSON would surface as a decoding
// error, a redirect as an empty success, and its own OAuth type fetches tokens past
// the http.Client it was given.
//
// The invariant that costs money: a write whose answer did not come is Unsure and
// never taken for failure, and nothing is retried here but a call that was refused
// because its token had expired.
package tailscale
