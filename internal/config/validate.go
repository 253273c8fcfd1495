package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

var (
	awsAccount  = regexp.MustCompile(`^[0-9]{12}$`)
	awsRegion   = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
	redisName   = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)
	headerName  = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	minEventKey = 16
)

const off = "off"

// Validate checks every setting and lists all problems at once, as a Problems.
// It looks at files that are named, and makes no call.
func (c Config) Validate() error { return join(c.problems()) }

func (c Config) problems() Problems {
	v := &checker{c: &c, accepts: map[string]string{}}
	for _, f := range fields {
		v.accepts[f.env] = f.accepts
	}
	v.listeners()
	v.places()
	v.logs()
	v.seller()
	v.mail()
	v.aws()
	v.gcp()
	v.azure()
	v.rhythm()
	v.limits()
	return v.problems
}

type checker struct {
	c        *Config
	accepts  map[string]string
	problems Problems
}

// want complains about a setting unless ok holds.
func (v *checker) want(ok bool, name, value string) {
	if ok {
		return
	}
	text := "is needed: write " + v.accepts[prefix+name]
	if value != "" {
		text = strconv.Quote(value) + " is not accepted; write " + v.accepts[prefix+name]
	}
	v.say(name, text)
}

func (v *checker) say(name, text string) {
	v.problems = append(v.problems, Problem{prefix + name, text})
}

func (v *checker) listeners() {
	c := v.c
	v.want(isHostPort(c.Listen), "LISTEN", c.Listen)
	v.want(c.AdminListen == off || isHostPort(c.AdminListen), "ADMIN_LISTEN", c.AdminListen)
	if _, port, err := net.SplitHostPort(c.Listen); err == nil && port != "0" && c.Listen == c.AdminListen {
		v.say("ADMIN_LISTEN", strconv.Quote(c.AdminListen)+" is the public listener too; take another port, or off")
	}
	host, _, err := net.SplitHostPort(c.Embedded.Listen)
	v.want(err == nil && isHostPort(c.Embedded.Listen) && isLoopback(host), "EMBEDDED_LISTEN", c.Embedded.Listen)
	if c.PublicURL != "" {
		u := webURL(c.PublicURL)
		v.want(u != nil && u.RawQuery == "" && u.Fragment == "", "PUBLIC_URL", showURL(c.PublicURL))
	}
}

func (v *checker) places() {
	c := v.c
	v.want(c.DataDir != "", "DATA_DIR", "")
	if info, err := os.Stat(c.DataDir); err == nil && !info.IsDir() {
		v.want(false, "DATA_DIR", c.DataDir)
	}
	if c.DatabaseURL.IsSet() {
		u, err := url.Parse(c.DatabaseURL.Reveal())
		ok := err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
		v.want(ok, "DATABASE_URL", showURL(c.DatabaseURL.Reveal()))
	}
	if c.RedisURL.IsSet() {
		u, err := url.Parse(c.RedisURL.Reveal())
		v.want(err == nil && (u.Scheme == "redis" || u.Scheme == "rediss") && u.Host != "", "REDIS_URL", showURL(c.RedisURL.Reveal()))
	}
	v.want(redisName.MatchString(c.RedisName), "REDIS_NAME", c.RedisName)
	v.want(c.Replicas >= 1 && c.Replicas <= 1000, "REPLICAS", strconv.Itoa(c.Replicas))
	// Whoever owns the clock decides which hour is billed, so it is never
	// another machine.
	if c.ClockURL != "" {
		u := webURL(c.ClockURL)
		v.want(u != nil && isLoopback(u.Hostname()), "CLOCK_URL", showURL(c.ClockURL))
	}
	if c.CAFile != "" {
		_, err := c.Roots()
		v.want(err == nil, "CA_FILE", c.CAFile)
	}
	for name, path := range map[string]string{"OPERATOR_KEY_FILE": c.Operator.KeyFile, "INSTANCE_KEY_FILE": c.Instance.KeyFile} {
		if info, err := os.Stat(path); path != "" && err == nil && info.IsDir() {
			v.want(false, name, path)
		}
	}
}

func (v *checker) logs() {
	v.want(v.c.LogFormat == "text" || v.c.LogFormat == "json", "LOG_FORMAT", v.c.LogFormat)
}

func (v *checker) seller() {
	o := v.c.Seller
	v.want(o.Name != "" && len([]rune(o.Name)) <= 80, "SELLER_NAME", o.Name)
	if o.Support != "" {
		address, err := mail.ParseAddress(o.Support)
		u := webURL(o.Support)
		v.want(err == nil && address.Address == o.Support || u != nil && u.Scheme == "https", "SELLER_SUPPORT", o.Support)
	}
}

func (v *checker) mail() {
	m := v.c.SMTP
	if m.Addr == "" {
		if m != (SMTP{}) {
			v.want(false, "SMTP_ADDR", "")
		}
		return
	}
	v.want(isHostPort(m.Addr), "SMTP_ADDR", m.Addr)
	from, err := mail.ParseAddress(m.From)
	v.want(err == nil && from.Address != "", "SMTP_FROM", m.From)
	v.want(m.Username != "" || !m.Password.IsSet(), "SMTP_USERNAME", "")
	v.want(m.Username == "" || m.Password.IsSet(), "SMTP_PASSWORD", "")
}

func (v *checker) aws() {
	a := v.c.AWS
	if !a.Enabled() {
		return
	}
	v.want(awsAccount.MatchString(a.SellerAccount), "AWS_SELLER_ACCOUNT", a.SellerAccount)
	v.want(awsRegion.MatchString(a.Region), "AWS_REGION", a.Region)
	v.want(headerName.MatchString(a.EventKeyHeader), "AWS_EVENT_KEY_HEADER", a.EventKeyHeader)
	v.endpoint("AWS_ENDPOINT", a.Endpoint)
	v.endpoint("AWS_QUEUE_URL", a.QueueURL)
	if a.QueueURL == "" && !a.EventKey.IsSet() {
		v.say("AWS_EVENT_KEY", "is needed unless TAILMARKET_AWS_QUEUE_URL is set: one of them lets the marketplace's events in; write "+
			v.accepts[prefix+"AWS_EVENT_KEY"])
	}
	if a.EventKey.IsSet() && len(a.EventKey.Reveal()) < minEventKey {
		v.say("AWS_EVENT_KEY", fmt.Sprintf("has %d characters; write %s", len(a.EventKey.Reveal()), v.accepts[prefix+"AWS_EVENT_KEY"]))
	}
	v.want(a.AccessKeyID != "" || !a.SecretAccessKey.IsSet(), "AWS_ACCESS_KEY_ID", "")
	v.want(a.AccessKeyID == "" || a.SecretAccessKey.IsSet(), "AWS_SECRET_ACCESS_KEY", "")
}

// gcp checks what has a form of its own; the adapter checks how settings fit together.
func (v *checker) gcp() {
	g := v.c.GCP
	if !g.Enabled() {
		return
	}
	v.want(g.Provider != "", "GCP_PROVIDER", "")
	v.want(g.Audience != "" && !strings.ContainsAny(g.Audience, "/ "), "GCP_AUDIENCE", g.Audience)
	if g.PullSubscription == "" && g.PushSubscription == "" {
		v.say("GCP_PULL_SUBSCRIPTION", "is needed unless TAILMARKET_GCP_PUSH_SUBSCRIPTION is set: one of them lets the marketplace's events in; write "+
			v.accepts[prefix+"GCP_PULL_SUBSCRIPTION"])
	}
	v.want(g.PushSubscription == "" || g.PushAudience != "", "GCP_PUSH_AUDIENCE", "")
	v.want(g.PushSubscription == "" || g.PushAccount != "", "GCP_PUSH_ACCOUNT", "")
	v.want(g.CredentialsFile == "" || isFile(g.CredentialsFile), "GCP_CREDENTIALS_FILE", g.CredentialsFile)
	v.endpoint("GCP_ENDPOINT", g.Endpoint)
	v.span("GCP_RESEND_FOR", g.ResendFor, 0, 24*time.Hour)
}

func (v *checker) azure() {
	a := v.c.Azure
	if !a.Enabled() {
		return
	}
	v.want(uuid.Validate(a.TenantID) == nil, "AZURE_TENANT_ID", a.TenantID)
	v.want(uuid.Validate(a.ClientID) == nil, "AZURE_CLIENT_ID", a.ClientID)
	proofs := 0
	for _, set := range []bool{a.ClientSecret.IsSet(), a.CertificateFile != "", a.FederatedTokenFile != ""} {
		if set {
			proofs++
		}
	}
	if proofs != 1 {
		v.say("AZURE_CLIENT_SECRET", fmt.Sprintf("is one of three ways to prove who we are, and %d are set; write %s", proofs, v.accepts[prefix+"AZURE_CLIENT_SECRET"]))
	}
	v.want(a.CertificateFile == "" || isFile(a.CertificateFile), "AZURE_CERTIFICATE_FILE", a.CertificateFile)
	v.want(a.FederatedTokenFile == "" || isFile(a.FederatedTokenFile), "AZURE_FEDERATED_TOKEN_FILE", a.FederatedTokenFile)
	v.signIn(a)
	v.endpoint("AZURE_AUTHORITY", a.Authority)
	v.endpoint("AZURE_ENDPOINT", a.Endpoint)
}

// signIn checks the app by which buyers sign in, which may be left out whole.
func (v *checker) signIn(a Azure) {
	proofs := 0
	for _, set := range []bool{a.SignInClientSecret.IsSet(), a.SignInCertificateFile != ""} {
		if set {
			proofs++
		}
	}
	if a.SignInClientID == "" && proofs == 0 {
		return
	}
	v.want(uuid.Validate(a.SignInClientID) == nil, "AZURE_SIGN_IN_CLIENT_ID", a.SignInClientID)
	if proofs > 1 || proofs == 0 && a.FederatedTokenFile == "" {
		v.say("AZURE_SIGN_IN_CLIENT_SECRET", fmt.Sprintf("is one of three ways to prove who the sign-in app is, and %d are set; write %s", proofs, v.accepts[prefix+"AZURE_SIGN_IN_CLIENT_SECRET"]))
	}
	v.want(a.SignInCertificateFile == "" || isFile(a.SignInCertificateFile), "AZURE_SIGN_IN_CERTIFICATE_FILE", a.SignInCertificateFile)
}

// endpoint wants https, or loopback.
func (v *checker) endpoint(name, value string) {
	if value != "" {
		u := webURL(value)
		v.want(u != nil && (u.Scheme == "https" || isLoopback(u.Hostname())), name, showURL(value))
	}
}

func (v *checker) rhythm() {
	m := v.c.Metering
	v.span("METERING_SWEEP_EVERY", m.SweepEvery, time.Second, 24*time.Hour)
	v.span("METERING_BACKOFF_BASE", m.BackoffBase, time.Millisecond, time.Hour)
	v.span("METERING_BACKOFF_MAX", m.BackoffMax, max(m.BackoffBase, time.Millisecond), 24*time.Hour)
}

func (v *checker) limits() {
	l := v.c.Limits
	for name, n := range map[string]Size{"LIMITS_BODY_BYTES": l.BodyBytes, "LIMITS_USAGE_BODY_BYTES": l.UsageBodyBytes} {
		v.want(n >= 1<<10 && n <= 64<<20, name, n.String())
	}
	v.span("LIMITS_REQUEST_TIMEOUT", l.RequestTimeout, time.Millisecond, 10*time.Minute)
	v.span("LIMITS_HEADER_TIMEOUT", l.HeaderTimeout, time.Millisecond, 10*time.Minute)
}

func (v *checker) span(name string, d, least, most time.Duration) {
	v.want(d >= least && d <= most, name, d.String())
}

// Roots are the certificates outbound calls trust: the system's, and CAFile's.
// It is nil, which means the system's, when CAFile is empty.
func (c Config) Roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil //nolint:nilnil // nil is crypto/tls's own word for the system's roots
	}
	text, err := readBounded(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the extra root certificate: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without a system store, such as an empty container
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no PEM certificate", c.CAFile)
	}
	return pool, nil
}

func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// webURL parses an absolute http or https address without a password, or
// returns nil.
func webURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	return u
}

// showURL is what may be printed of an address: no password, no query.
func showURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		if strings.ContainsAny(s, "@?= ") {
			return "(not shown)" // it may be a connection string with a password
		}
		return s
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}
