package usage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tailmarket/tailmarket/pkg/usage"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_CHILD"); dir != "" {
		os.Exit(child(dir))
	}
	m.Run()
}

func open(t *testing.T, dir string, c *usage.Client, o usage.SpoolOptions) *usage.Spool {
	t.Helper()
	s, err := usage.OpenSpool(dir, c, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *usage.Spool, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := s.Add(fact(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASpoolOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	srv, dir := newServer(), t.TempDir()
	c := client(t, srv, 2)
	s := open(t, dir, c, usage.SpoolOptions{})
	add(t, s, "1", "2", "3")
	if _, err := usage.OpenSpool(dir, c, usage.SpoolOptions{}); err == nil {
		t.Fatal("two processes have one spool")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, c, usage.SpoolOptions{})
	add(t, s, "4")
	if s.Waiting() != 4 {
		t.Fatalf("%d wait", s.Waiting())
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(srv.counted) != 4 || len(srv.bodies) != 2 || s.Waiting() != 0 {
		t.Errorf("%d facts in %d calls, %d wait", len(srv.counted), len(srv.bodies), s.Waiting())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, c, usage.SpoolOptions{})
	if err := s.Flush(t.Context()); err != nil || len(srv.bodies) != 2 {
		t.Errorf("what was answered is sent again: %d calls %v", len(srv.bodies), err)
	}
	add(t, s, "5")
	if err := s.Flush(t.Context()); err != nil || len(srv.counted) != 5 {
		t.Errorf("%d facts %v", len(srv.counted), err)
	}
}

func TestAFullSpoolSaysSoAndHasRoomAgain(t *testing.T) {
	t.Parallel()
	srv, dir := newServer(), t.TempDir()
	s := open(t, dir, client(t, srv, 7), usage.SpoolOptions{MaxBytes: 4000})
	for round := range 4 {
		n := 0
		for {
			err := s.Add(fact(fmt.Sprint(round, "/", n)))
			if errors.Is(err, usage.ErrFull) {
				if !strings.Contains(err.Error(), strconv.Itoa(n)+" events") || !strings.Contains(err.Error(), dir) {
					t.Fatalf("it says %v with %d events", err, n)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n < 10 || s.Waiting() != n {
			t.Fatalf("round %d: full with %d events, %d wait", round, n, s.Waiting())
		}
		size := int64(0)
		files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if size > 4000 || len(files) < 3 {
			t.Fatalf("%d bytes in %d segments", size, len(files))
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, n := range srv.times {
		if n != 1 {
			t.Errorf("%s was sent %d times", name, n)
		}
	}
}

func TestWhatIsRefusedIsKeptBeside(t *testing.T) {
	t.Parallel()
	srv, dir := newServer(), t.TempDir()
	var told []string
	s := open(t, dir, client(t, srv, 10), usage.SpoolOptions{Refused: func(r usage.Result) { told = append(told, r.ID) }})
	add(t, s, "1", "bad 1", "2", "bad 2")
	if err := s.Flush(t.Context()); err != nil || s.Waiting() != 0 {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "refused.jsonl"))
	if err != nil || strings.Count(string(raw), "\n") != 2 || !strings.Contains(string(raw), `"quantity":"1.5"`) || strings.Join(told, ",") != "bad 1,bad 2" {
		t.Errorf("kept %s, told %v, %v", raw, told, err)
	}
}

func TestARefusedCallKeepsEverything(t *testing.T) {
	t.Parallel()
	srv := newServer()
	srv.weather = func(call, _ int) *http.Response {
		if call == 1 {
			return answer(http.StatusUnauthorized, `{"title":"revoked"}`)
		}
		return nil
	}
	s := open(t, t.TempDir(), client(t, srv, 10), usage.SpoolOptions{})
	add(t, s, "1", "2")
	var refused *usage.Error
	if err := s.Run(t.Context()); !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || s.Waiting() != 2 {
		t.Fatalf("%v, %d wait", err, s.Waiting())
	}
	if err := s.Flush(t.Context()); err != nil || len(srv.counted) != 2 {
		t.Fatalf("%v, %d facts", err, len(srv.counted))
	}
}

func TestRunSendsWhatIsAdded(t *testing.T) {
	t.Parallel()
	srv, dir := newServer(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, client(t, srv, 3), usage.SpoolOptions{Wait: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		for i := range 10 {
			add(t, s, fmt.Sprint(i))
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if srv.facts() != 10 {
			t.Errorf("%d facts", srv.facts())
		}
		calls := srv.calls()
		add(t, s, "late")
		synctest.Wait()
		if srv.calls() != calls {
			t.Error("one event did not wait for others")
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if srv.calls() != calls+1 || s.Waiting() != 0 {
			t.Errorf("%d calls after %d, %d wait", srv.calls(), calls, s.Waiting())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A write that a crash cut is dropped: its Add never returned. Whatever else is
// wrong with a file is said, not skipped.
func TestACutWriteIsDroppedAndDamageIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(raw []byte) []byte
		want int // facts; 0: refused
	}{
		"cut in the last line":   {func(raw []byte) []byte { return raw[:len(raw)-9] }, 2},
		"cut before its end":     {func(raw []byte) []byte { return raw[:len(raw)-1] }, 2},
		"zeros after the end":    {func(raw []byte) []byte { return append(raw, make([]byte, 64)...) }, 3},
		"a changed last line":    {func(raw []byte) []byte { raw[len(raw)-5] ^= 1; return raw }, 2},
		"a changed earlier line": {func(raw []byte) []byte { raw[30] ^= 1; return raw }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, dir := newServer(), t.TempDir()
			c_ := client(t, srv, 10)
			s := open(t, dir, c_, usage.SpoolOptions{})
			add(t, s, "1", "2", "3")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "00000001.seg")
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.edit(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = usage.OpenSpool(dir, c_, usage.SpoolOptions{})
			if c.want == 0 {
				if err == nil || !strings.Contains(err.Error(), "damaged at byte 0") {
					t.Fatalf("opened with %v", err)
				}
				return
			}
			if err != nil || s.Waiting() != c.want {
				t.Fatalf("%v", err)
			}
			add(t, s, "4")
			if err := s.Flush(t.Context()); err != nil || len(srv.counted) != c.want+1 {
				t.Errorf("%d facts %v", len(srv.counted), err)
			}
		})
	}
}

// child adds facts from the first that it does not know to be kept, and sends
// them, until it is killed. It prints the number of each fact after Add.
func child(dir string) int {
	c, err := usage.New(usage.Options{URL: os.Getenv("SPOOL_URL"), Key: "k", Source: "meter", Batch: 5})
	if err != nil {
		return 1
	}
	s, err := usage.OpenSpool(dir, c, usage.SpoolOptions{MaxBytes: 6000, Wait: time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	first, _ := strconv.Atoi(os.Getenv("SPOOL_FIRST"))
	last, _ := strconv.Atoi(os.Getenv("SPOOL_LAST"))
	for n := first; n < last; {
		switch err := s.Add(fact(fmt.Sprint(n))); {
		case errors.Is(err, usage.ErrFull):
			_ = s.Flush(ctx)
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 1
		default:
			_, _ = fmt.Fprintln(os.Stdout, n)
			n++
		}
	}
	if err := s.Flush(ctx); err != nil {
		return 1
	}
	cancel()
	wg.Wait()
	return 0
}

// A process that is killed at any moment loses nothing that Add has kept, and
// nothing counts twice.
func TestAKilledProcessLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	const kills, facts = 25, 1500
	srv := newServer()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Scheme, r.URL.Host = "https", "sell.example"
		res, err := srv.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(res.StatusCode)
		_, _ = bufio.NewReader(res.Body).WriteTo(w)
	}))
	defer web.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, next := t.TempDir(), 0
	run := func(last, killAfter int) {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), "SPOOL_CHILD="+dir, "SPOOL_URL="+web.URL, fmt.Sprint("SPOOL_FIRST=", next), fmt.Sprint("SPOOL_LAST=", last))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == killAfter {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
			kept, err := strconv.Atoi(lines.Text())
			if err != nil {
				break // cut
			}
			next = kept + 1
		}
		if err := cmd.Wait(); killAfter < 0 && err != nil {
			t.Fatal(err)
		}
	}
	for range kills {
		run(facts*10, rand.IntN(60))
	}
	killedAt := next
	run(killedAt+20, -1) // and one that ends well
	srv.mu.Lock()
	defer srv.mu.Unlock()
	again := 0
	for n := range killedAt + 20 {
		name := fmt.Sprint("meter|", n)
		if srv.counted[name] == "" {
			t.Errorf("fact %d was kept and is lost", n)
		}
		again += srv.times[name] - 1
	}
	if len(srv.counted) != killedAt+20 {
		t.Errorf("%d facts counted, %d happened", len(srv.counted), killedAt+20)
	}
	t.Logf("%d facts, %d kills, %d sent again and told to be duplicates", killedAt+20, kills, again)
}
