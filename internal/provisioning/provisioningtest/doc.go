// Package provisioningtest is the one suite every driver passes: it works tailnets
// through provisioning's own steps, kills the run at every call and at every write,
// and looks at the control plane afterwards. It owns what a driver must do; it leaves
// to a Harness how a control plane is started and how people and machines come to it.
//
// The invariant that costs money is the one of the steps: however often a run is
// killed, a purchase has one tailnet, one join key that works, and after a revocation
// none.
package provisioningtest
