//go:build !linux

package main

import "syscall"

// tied is what only Linux can do: elsewhere an app outlives a demo that is killed hard.
func tied() *syscall.SysProcAttr { return nil }
