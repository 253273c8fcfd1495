// Package e2e tells stories through the real app and the simulator: what must
// hold when a machine dies, a message is lost or time passes. Tests only.
package e2e
