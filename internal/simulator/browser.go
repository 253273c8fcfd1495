package simulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// browser is as much of one as a registration needs: cookies, redirects, forms. One visit uses it at a time.
type browser struct {
	client *http.Client
	jar    *laxJar
}

// laxJar keeps SameSite=Lax promises: no cookie travels on a POST from another site, all do on the GET that follows it.
type laxJar struct {
	http.CookieJar
	foreign bool
}

func (j *laxJar) Cookies(u *url.URL) []*http.Cookie {
	if j.foreign {
		return nil
	}
	return j.CookieJar.Cookies(u)
}

// trusted is what browsers trust: the system's authorities and the simulator's own.
func trusted(caPEM []byte) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(caPEM)
	return pool
}

func newBrowser(roots *x509.CertPool) *browser {
	inner, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // the standard jar without options has no way to fail
	}
	b := &browser{jar: &laxJar{CookieJar: inner}}
	b.client = &http.Client{
		// A connection per request: buyers come minutes apart, and a kept one would be dead after a kill.
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		Jar:       b.jar, Timeout: 10 * time.Second,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			b.jar.foreign = false
			if ip := net.ParseIP(r.URL.Hostname()); r.URL.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return http.ErrUseLastResponse // a listing in the wide world: not from here
			}
			if len(via) > 10 {
				return fmt.Errorf("more than 10 redirects")
			}
			return nil
		},
	}
	return b
}

// page is what the buyer sees.
type page struct {
	url     *url.URL
	status  int
	state   string // data-state
	joinKey string
	forms   []form
}

// form is one form with data-step, its fields filled as the page filled them.
type form struct {
	step, method, action string
	values               url.Values
}

func (p *page) form(step string) (form, bool) {
	for _, f := range p.forms {
		if f.step == step {
			return f, true
		}
	}
	return form{}, false
}

func (b *browser) get(ctx context.Context, address string) (*page, error) {
	return b.patiently(ctx, request{method: http.MethodGet, address: address})
}

// submit sends a form of a page, from that page's own origin.
func (b *browser) submit(ctx context.Context, p *page, f form) (*page, error) {
	target, err := p.url.Parse(f.action)
	if err != nil {
		return nil, fmt.Errorf("form %s: action %q: %w", f.step, f.action, err)
	}
	return b.patiently(ctx, request{method: f.method, address: target.String(), form: f.values, origin: p.url.Scheme + "://" + p.url.Host})
}

// arrive is the way from the marketplace's own site to the app.
func (b *browser) arrive(ctx context.Context, app string, way arrival) (*page, error) {
	if way.signedIn != nil {
		if site, err := url.Parse(way.site); err == nil {
			b.jar.SetCookies(site, []*http.Cookie{way.signedIn})
		}
	}
	r := request{method: way.method, address: app + way.path, origin: way.origin, foreign: true}
	if way.method == http.MethodPost {
		r.form = way.values
	} else if len(way.values) > 0 {
		r.address += "?" + way.values.Encode()
	}
	return b.patiently(ctx, r)
}

// request is what a browser asks for; foreign if another site sent it.
type request struct {
	method, address string
	form            url.Values
	origin          string
	foreign         bool
}

// patiently tries until there is an answer below 500, or ctx ends.
func (b *browser) patiently(ctx context.Context, r request) (*page, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		p, err := b.once(ctx, r)
		if err == nil && p.status < 500 && p.status != http.StatusTooManyRequests {
			return p, nil
		}
		if !sleep(ctx, pause) {
			if err == nil {
				err = fmt.Errorf("status %d", p.status)
			}
			return nil, fmt.Errorf("%s %s: %w", r.method, path(r.address), err)
		}
	}
}

func (b *browser) once(ctx context.Context, r request) (*page, error) {
	var body io.Reader
	if r.method == http.MethodPost {
		body = strings.NewReader(r.form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.address, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	req.Header.Set("User-Agent", "Mozilla/5.0 (buyer)")
	b.jar.foreign = r.foreign && r.method == http.MethodPost
	if r.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", r.origin)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if r.foreign {
		req.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	root, err := html.Parse(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	p := &page{url: resp.Request.URL, status: resp.StatusCode}
	p.read(root)
	return p, nil
}

// path keeps tokens and links, which are secrets, out of problem texts.
func path(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "page"
	}
	return u.Path
}

func (p *page) read(root *html.Node) {
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if state := attr(n, "data-state"); state != "" && (p.state == "" || n.Data == "body") {
			p.state = state
		}
		switch {
		case n.Data == "form" && attr(n, "data-step") != "":
			p.forms = append(p.forms, readForm(n))
		case n.Data == "code" && attr(n, "id") == "join-key":
			p.joinKey = strings.TrimSpace(text(n))
		}
	}
}

func readForm(n *html.Node) form {
	f := form{step: attr(n, "data-step"), method: strings.ToUpper(attr(n, "method")), action: attr(n, "action"), values: url.Values{}}
	if f.method == "" {
		f.method = http.MethodGet
	}
	pressed := false
	for c := range n.Descendants() {
		if c.Type != html.ElementNode || attr(c, "name") == "" && c.Data != "option" {
			continue
		}
		name, value := attr(c, "name"), attr(c, "value")
		switch kind := strings.ToLower(attr(c, "type")); {
		case c.Data == "textarea":
			f.values.Add(name, text(c))
		case c.Data == "select":
			f.values.Add(name, chosen(c))
		case c.Data == "input" && (kind == "checkbox" || kind == "radio"):
			if has(c, "checked") || kind == "checkbox" && has(c, "required") {
				f.values.Add(name, orOn(value))
			}
		case c.Data == "input" && kind == "submit", c.Data == "button" && (kind == "" || kind == "submit"):
			if !pressed {
				f.values.Add(name, value)
			}
			pressed = true
		case c.Data == "input" && kind != "button" && kind != "reset" && kind != "file" && kind != "image":
			f.values.Add(name, value)
		}
	}
	return f
}

func chosen(sel *html.Node) string {
	first, found := "", false
	for o := range sel.Descendants() {
		if o.Type != html.ElementNode || o.Data != "option" {
			continue
		}
		if value := attr(o, "value"); has(o, "selected") {
			return value
		} else if !found {
			first, found = value, true
		}
	}
	return first
}

func orOn(v string) string {
	if v == "" {
		return "on"
	}
	return v
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	for _, a := range n.Attr {
		if a.Key == key {
			return true
		}
	}
	return false
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}
