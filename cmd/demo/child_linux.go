package main

import "syscall"

// tied makes the app die with a demo that dies.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
