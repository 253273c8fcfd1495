package e2e

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
)

// TestBrowser is what people see: a real browser in front of the real app and the
// simulator. Every page that a story comes to is checked in light and dark, wide
// and narrow; what the browser complains about fails the story.
func TestBrowser(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	for _, s := range []struct {
		name  string
		story func(*testing.T, *browser)
	}{
		{"an operator looks around", looksAround}, // the longest begins first
		{"a buyer of AWS", buys("aws")},
		{"a buyer of Google", buys("gcp")},
		{"a buyer of Microsoft", buys("azure")},
		{"a buyer who cannot sign in", cannotSignIn},
		{"a buyer who comes again", comesAgain},
		{"an operator and the quarantine", quarantines},
		{"an operator watches", watches},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.story(t, b)
		})
	}
}

// browser is one Chromium for all stories; each has a profile of its own in it.
type browser struct{ ctx context.Context }

// openBrowser starts Chromium, which must not ask anything of the world: its own
// services are off, and no name but this machine's is found.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = cmp.Or(program, found)
		}
	}
	if program == "" {
		if os.Getenv("TAILMARKET_TEST_REQUIRE") != "" {
			t.Fatal("no chromium; run the tests through ./test.sh, which installs it")
		}
		t.Skip("no chromium: run the tests through ./test.sh")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	return &browser{ctx}
}

// tab is a page that somebody looks at.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	said    []string // complaints of the browser
	allowed []string // parts of those that a story brings about on purpose
}

// person opens a tab with a profile of its own.
func (b *browser) person(t *testing.T) *tab {
	t.Helper()
	return newTab(b.ctx, t, chromedp.WithNewBrowserContext())
}

// another opens a tab beside this one, with the same cookies.
func (p *tab) another() *tab { return newTab(p.ctx, p.t) }

func newTab(parent context.Context, t *testing.T, o ...chromedp.ContextOption) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, cancel := chromedp.NewContext(parent, append(o, chromedp.WithListener(p.hear))...)
	t.Cleanup(cancel)
	p.ctx = ctx
	_, err := chromedp.Call(ctx, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}) // the simulator's authority is its own
	p.ok("open a tab", err)
	p.look(looks[0])
	t.Cleanup(p.quiet)
	return p
}

func (p *tab) ok(what string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", what, err, p.seen())
	}
}

// hear keeps what the browser complains about, and every request that leaves
// this machine.
func (p *tab) hear(event any) {
	said := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning || e.Entry.Source == log.EntrySourceSecurity {
			said = fmt.Sprintf("%s %s: %s", e.Entry.Source, e.Entry.Level, e.Entry.Text)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			said = "console " + string(e.Type)
			for _, a := range e.Args {
				said += " " + cmp.Or(a.Description, string(a.Value))
			}
		}
	case *runtime.EventExceptionThrown:
		said = "exception " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			said += " " + x.Description
		}
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if ip := net.ParseIP(u.Hostname()); err != nil || u.Host != "" && u.Hostname() != "localhost" && !ip.IsLoopback() {
			said = "a request left this machine: " + e.Request.URL
		}
	}
	if said != "" {
		p.mu.Lock()
		p.said = append(p.said, said)
		p.mu.Unlock()
	}
}

// allow says that the story brings a complaint about on purpose.
func (p *tab) allow(part string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = append(p.allowed, part)
}

func (p *tab) quiet() {
	p.mu.Lock()
	defer p.mu.Unlock()
said:
	for _, s := range p.said {
		for _, part := range p.allowed {
			if strings.Contains(s, part) {
				continue said
			}
		}
		p.t.Errorf("the browser says: %s", s)
	}
}

// goTo opens an address as if it was typed.
func (p *tab) goTo(u string) {
	p.t.Helper()
	p.arrive("open "+u, chromedp.Navigate(u))
}

// press presses the button or link with these words, and waits for the page that
// it leads to.
func (p *tab) press(words string) {
	p.t.Helper()
	p.arrive("press "+words, chromedp.Click(named(words), chromedp.NodeVisible))
}

// named finds what can be pressed by its words, as a reader does.
func named(words string) chromedp.Search {
	return chromedp.Search(fmt.Sprintf(`(//button|//a|//summary)[normalize-space(.)=%q]`, words))
}

func (p *tab) arrive(what string, a chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, a)
	p.ok(what, err)
}

// fill types into the field with a label.
func (p *tab) fill(label, text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	of := ask[string](p, fmt.Sprintf(`Array.from(document.querySelectorAll("label")).find(l => l.textContent.trim() === %q)?.control?.id ?? ""`, label))
	if of == "" {
		p.t.Fatalf("no field is called %q on\n%s", label, p.seen())
	}
	ask[chromedp.Void](p, fmt.Sprintf(`document.getElementById(%q).select()`, of))
	p.ok("fill "+label, chromedp.Do(ctx, chromedp.SendKeys(chromedp.ID(of), text)))
}

// ask evaluates an expression in the page.
func ask[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	p.ok("evaluate "+expression, err)
	return got
}

// seen is the text of the page, as a reader sees it.
func (p *tab) seen() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname.replace(/[^/]{24,}/, "…") + "\n" + (document.body?.innerText ?? "")`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (p *tab) path() string { p.t.Helper(); return ask[string](p, "location.pathname") }

// has reports whether an element is there and can be seen.
func (p *tab) has(css string) bool {
	p.t.Helper()
	return ask[bool](p, fmt.Sprintf(`Array.from(document.querySelectorAll(%q)).some(e => e.checkVisibility())`, css))
}

// sees waits until the page says all of these.
func (p *tab) sees(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.comes(fmt.Sprintf("the words %q", text), fmt.Sprintf("document.body?.innerText.includes(%q)", text))
	}
}

// comes waits until an expression is true in the page.
func (p *tab) comes(what, expression string) {
	p.t.Helper()
	end, pause := time.NewTimer(patience), time.NewTicker(50*time.Millisecond)
	defer end.Stop()
	defer pause.Stop()
	for !ask[bool](p, "!!("+expression+")") {
		select {
		case <-pause.C:
		case <-end.C:
			p.t.Fatalf("waited in vain for %s on\n%s", what, p.seen())
		}
	}
}

// look is a screen and what its owner prefers.
type look struct {
	name, scheme string
	width        int64
	rules        string // of axe-core; empty: all of them
}

// Every rule is asked at both widths, and those about colours in every look: the
// others see no difference between light and dark.
var looks = []look{{"light-wide", "light", 1280, ""}, {"dark-wide", "dark", 1280, ofColours}, {"dark-narrow", "dark", 390, ""}, {"light-narrow", "light", 390, ofColours}}

const ofColours = `runOnly: ["color-contrast", "link-in-text-block"], `

func (p *tab) look(l look) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	p.ok("choose colours", err)
	p.ok("choose a screen", chromedp.Do(p.ctx, chromedp.EmulateViewport(l.width, 900)))
}

//go:embed testdata/axe/axe.min.js
var axe string

// check judges the page as it is now: axe-core finds nothing, and nothing is wider
// than the screen, however it is looked at. With TAILMARKET_SCREENS it leaves
// pictures of the main pages in that folder.
func (p *tab) check(name string) {
	p.t.Helper()
	for _, l := range looks {
		p.look(l)
		if ask[bool](p, "typeof axe === 'undefined'") {
			ask[chromedp.Void](p, axe)
		}
		var found []struct {
			ID, Help string
			Where    []string
		}
		raw := ask[string](p, `axe.run(document, {`+l.rules+`resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, help: v.help, where: v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary)}))))`)
		p.ok("read axe's answer", json.Unmarshal([]byte(raw), &found))
		for _, v := range found {
			p.t.Errorf("%s, %s: %s: %s\n  %s", name, l.name, v.ID, v.Help, strings.Join(v.Where, "\n  "))
		}
		if over := ask[int](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
			p.t.Errorf("%s, %s: %d pixels lie outside of the screen", name, l.name, over)
		}
		p.shoot(name, l)
	}
	p.look(looks[0])
}
