package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// childMark makes this executable run the app instead of the demo.
const childMark = "DEMO_RUNS_THE_APP"

// child is the app as a process of its own. It is started again whenever it was
// killed, until stop.
type child struct {
	env    []string
	url    string
	stderr io.Writer
	log    *slog.Logger

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	stopped bool
	kills   int
	failure error
}

// start runs the app and keeps it running.
func (c *child) start(ctx context.Context) error {
	if err := c.spawn(); err != nil {
		return err
	}
	return c.ready(ctx)
}

func (c *child) spawn() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	cmd := exec.Command(self) //nolint:gosec,noctx // our own executable; ended by stop, not by a context, so that it can end in order
	cmd.Env = slices.Concat(c.env, []string{childMark + "=1"})
	if times, err := strconv.Atoi(os.Getenv(crashTimes)); err == nil && c.killed() >= times {
		cmd.Env = append(cmd.Env, crashAt+"=") // it lives from now on
	}
	cmd.Stderr = c.stderr
	cmd.SysProcAttr = tied()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the app: %w", err)
	}
	exited := make(chan struct{})
	c.mu.Lock()
	c.cmd, c.exited = cmd, exited
	c.mu.Unlock()
	go c.watch(cmd, exited)
	return nil
}

func (c *child) watch(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	c.mu.Lock()
	defer close(exited)
	defer c.mu.Unlock()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		c.kills++
	} else if !c.stopped {
		c.failure = fmt.Errorf("the app ended by itself: %w", errors.Join(err, errors.New(cmd.ProcessState.String())))
		return
	}
	if c.stopped {
		return
	}
	c.mu.Unlock()
	err = c.spawn()
	c.mu.Lock()
	if err != nil {
		c.failure = err
	}
}

// kill ends the running process with SIGKILL and waits until it is gone. It
// reports whether there was one.
func (c *child) kill() bool {
	c.mu.Lock()
	cmd, exited := c.cmd, c.exited
	c.mu.Unlock()
	select {
	case <-exited:
		return false
	default:
	}
	if cmd.Process.Kill() != nil {
		return false
	}
	<-exited
	return true
}

// err tells why the app is down for good, or nil.
func (c *child) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

func (c *child) killed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kills
}

// ready waits until the app answers /readyz.
func (c *child) ready(ctx context.Context) error {
	hc := &http.Client{Timeout: 2 * time.Second}
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if err := c.err(); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := hc.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("the app did not get ready within 60 s; see its log on standard error")
}

// stop ends the app in order and waits for it.
func (c *child) stop() {
	c.mu.Lock()
	c.stopped = true
	cmd, exited := c.cmd, c.exited
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(20 * time.Second):
		c.log.Error("the app did not stop within 20 s and was killed")
		_ = cmd.Process.Kill()
		<-exited
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// replicas are the processes of one app.
type replicas []*child

func (rs replicas) err() error {
	for _, c := range rs {
		if err := c.err(); err != nil {
			return err
		}
	}
	return nil
}

func (rs replicas) killed() (n int) {
	for _, c := range rs {
		n += c.killed()
	}
	return n
}

// stop ends all of them; a simulator's clock that waits for one holds up no other.
func (rs replicas) stop() {
	var all sync.WaitGroup
	for _, c := range rs {
		all.Go(c.stop)
	}
	all.Wait()
}
