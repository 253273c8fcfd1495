package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"

	"github.com/tailmarket/tailmarket/internal/money"
)

// In builds with the tag crash the app ends itself where these say (internal/app);
// after so many times the child takes the order back.
const (
	crashAt     = "CRASH_AT"
	crashTimes  = "CRASH_TIMES"
	crashPoints = "CRASH_POINTS"
)

// crashRun is one short story in which the app dies whenever it passes one point.
type crashRun struct {
	market, point string
	kills         int
	lost, doubled string
	wrong         string // why it is no proof, beside what was lost or doubled
}

// crash tells the same short story once for each point at which the app makes
// something durable, on each marketplace. The app dies the first times it gets
// there, o.kills of them, each time further on because what was durable before
// stays; then it lives and the bills are compared. A story without deaths finds
// out first which points there are.
func crash(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if o.kills == 0 {
		o.kills = 20
	}
	dir, err := os.MkdirTemp("", "tailmarket-crash-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var runs []*crashRun
	for _, m := range o.markets {
		points, err := o.points(ctx, m, filepath.Join(dir, m))
		if err != nil {
			return err
		}
		if n := o.crash; n > 0 && n < len(points) { // a few of them, others with another seed
			first := int(o.seed % uint64(len(points))) //nolint:gosec // shorter than it is wide
			points = slices.Concat(points[first:], points[:first])
			for i := range n {
				points[i] = points[i*len(points)/n]
			}
			points = points[:n]
		}
		for _, p := range points {
			runs = append(runs, &crashRun{market: m, point: p})
		}
	}
	var all sync.WaitGroup
	next := make(chan *crashRun)
	for range runtime.NumCPU() {
		all.Go(func() {
			for r := range next {
				r.play(ctx, o)
				_, _ = fmt.Fprintf(stderr, "%s %s: %d kills, lost %s, doubled %s %s\n", r.market, r.point, r.kills, r.lost, r.doubled, r.wrong)
			}
		})
	}
	for _, r := range runs {
		next <- r
	}
	close(next)
	all.Wait()
	return crashTable(stdout, runs)
}

// points lists what a story passes on a marketplace.
func (o options) points(ctx context.Context, market, file string) ([]string, error) {
	if _, err := o.story(ctx, market, crashPoints+"="+file); err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("no point was passed; build this program with -tags crash: %w", err)
	}
	defer func() { _ = f.Close() }()
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		seen[lines.Text()] = true
	}
	return slices.Sorted(maps.Keys(seen)), lines.Err()
}

// play tells the run's story and judges it.
func (r *crashRun) play(ctx context.Context, o options) {
	said, err := o.story(ctx, r.market, crashAt+"="+r.point, crashTimes+"="+strconv.Itoa(o.kills))
	if err != nil {
		r.wrong = err.Error()
		return
	}
	r.kills = said.Kills
	var lost, doubled int64
	for _, m := range said.Meters {
		var v [4]int64
		for i, text := range []string{m.Expected, m.Measured, m.Accepted, m.Billed} {
			if v[i], err = money.Parse(text, exact); err != nil {
				r.wrong = err.Error()
				return
			}
		}
		lost += max(0, v[0]-v[1]) + max(0, v[2]-v[3])
		doubled += max(0, v[1]-v[0]) + max(0, v[3]-v[2])
	}
	r.lost, r.doubled = money.Format(lost, exact), money.Format(doubled, exact)
	purchases := 0
	for _, n := range said.Purchases {
		purchases += n
	}
	switch {
	case lost != 0 || doubled != 0:
		r.wrong = "units are lost or doubled"
	case said.Unsure != "0":
		r.wrong = "unsure " + said.Unsure
	case said.Broken != 0:
		r.wrong = fmt.Sprintf("conservation broken in %d places", said.Broken)
	case purchases != storyBuyers || said.TailnetsActive != storyBuyers-said.Met["cancellations"]:
		r.wrong = fmt.Sprintf("%d purchases, %d tailnets", purchases, said.TailnetsActive)
	case said.Kills == 0:
		r.wrong = "nobody died"
	}
}

const storyBuyers = 3

var stories atomic.Int64

// story runs this program once more and reads what it reports; that few faults
// were met in so short a story is no matter here.
func (o options) story(ctx context.Context, market string, env ...string) (r report, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, fmt.Errorf("find this executable: %w", err)
	}
	args := []string{"-once", "-json", "-buyers", strconv.Itoa(storyBuyers), "-days", "1", "-markets", market, "-seed", strconv.FormatUint(o.seed, 10), "-weather", o.weather}
	if o.database != "" {
		to, drop, err := freshDatabase(ctx, o.database, fmt.Sprintf("crash_%d_%d", os.Getpid(), stories.Add(1)))
		if err != nil {
			return r, err
		}
		defer drop()
		args = append(args, "-database-url", to)
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // our own executable
	cmd.Env = slices.Concat(os.Environ(), env)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	if out.Len() == 0 {
		return r, fmt.Errorf("a story ended before its report: %w: %s", err, said.String())
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

// freshDatabase makes an empty database beside the one that base names, by
// PostgreSQL's own client.
func freshDatabase(ctx context.Context, base, name string) (to string, drop func(), err error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", nil, errors.New("the database URL cannot be parsed")
	}
	psql := func(ctx context.Context, statement string) error {
		out, err := exec.CommandContext(ctx, "psql", "-q", "-d", base, "-c", statement).CombinedOutput() //nolint:gosec // the caller's own database
		if err != nil {
			return fmt.Errorf("psql: %w: %s", err, out)
		}
		return nil
	}
	if err := psql(ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	u.Path = "/" + name
	return u.String(), func() { _ = psql(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)") }, nil
}

// crashTable prints the runs and fails when one of them is not as it must be.
func crashTable(out io.Writer, runs []*crashRun) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	text := "marketplace\tpoint\tkills\tlost\tdoubled\t\n"
	var wrong []string
	kills := 0
	for _, r := range runs {
		text += fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\n", r.market, r.point, r.kills, r.lost, r.doubled, r.wrong)
		kills += r.kills
		if r.wrong != "" {
			wrong = append(wrong, fmt.Sprintf("%s %s: %s", r.market, r.point, r.wrong))
		}
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%d points, %d hard kills, %d not as they must be\n", len(runs), kills, len(wrong)); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}
