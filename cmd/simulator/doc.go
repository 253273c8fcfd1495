// Command simulator runs the marketplaces alone: it listens on loopback, holds virtual time, and prints where everything
// is and what an app must be told. All behaviour is in internal/simulator; docs/simulator.md has the control API.
package main
