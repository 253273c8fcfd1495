package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/tailmarket/tailmarket/internal/fault"
)

const smtpTimeout = 30 * time.Second // wall time of one whole conversation

// SMTP hands mail to one mail server: TLS from the start on port 465, STARTTLS
// elsewhere. Only a server on loopback may go without.
type SMTP struct {
	Addr     string // host:port
	From     string
	Username string
	Password string
	Base     string         // our public address, put in front of links
	Roots    *x509.CertPool // nil: the system's
	Wall     func() time.Time
	Timeout  time.Duration // 30 s when zero
}

var _ Sender = SMTP{}

// String keeps the password out of logs.
func (s SMTP) String() string { return "smtp " + s.Addr }

// Send makes one attempt. Refused: the server will not take this mail, ever;
// Unsure: it may have taken it; Unavailable: it has not.
func (s SMTP) Send(ctx context.Context, m Mail) error {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = smtpTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "the mail server's address cannot be read")
	}
	conn, err := s.dial(ctx, host, port)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "the mail server cannot be reached")
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // net/smtp knows no context
	defer stop()
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return classify(err)
	}
	if err := s.greet(c, host, port); err != nil {
		return classify(err)
	}
	if err := c.Mail(s.From); err != nil {
		return classify(err)
	}
	if err := c.Rcpt(m.Address); err != nil {
		return classify(err)
	}
	w, err := c.Data()
	if err != nil {
		return classify(err)
	}
	_, werr := w.Write(s.message(m))
	if err := errors.Join(werr, w.Close()); err != nil {
		if f := classify(err); f.Class == fault.Refused {
			return f
		}
		return fault.Wrap(fault.Unsure, plain(err), "the mail server did not confirm the mail")
	}
	_ = c.Quit() // the mail is accepted; a lost goodbye changes nothing
	return nil
}

func (s SMTP) tls(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}
}

func (s SMTP) dial(ctx context.Context, host, port string) (net.Conn, error) {
	var d net.Dialer
	if port == "465" {
		td := tls.Dialer{NetDialer: &d, Config: s.tls(host)}
		return td.DialContext(ctx, "tcp", s.Addr)
	}
	return d.DialContext(ctx, "tcp", s.Addr)
}

func (s SMTP) greet(c *smtp.Client, host, port string) error {
	if port != "465" {
		if ok, _ := c.Extension("STARTTLS"); ok {
			if err := c.StartTLS(s.tls(host)); err != nil {
				return err
			}
		} else if !loopback(host) {
			return fault.New(fault.Unavailable, "the mail server offers no encryption")
		}
	}
	if s.Username == "" {
		return nil
	}
	return c.Auth(smtp.PlainAuth("", s.Username, s.Password, host))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// message is the mail as it travels. Its Message-ID is the same on every try.
func (s SMTP) message(m Mail) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(s.From, "@")
	from, to := mail.Address{Address: s.From}, mail.Address{Address: m.Address}
	for _, h := range [][2]string{
		{"From", from.String()},
		{"To", to.String()},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
		{"Date", s.Wall().UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + string(m.ID) + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(m.Body(s.Base))) // into memory
	_ = q.Close()
	return b.Bytes()
}

// classify reads the mail server's answer. Its text may quote the address, so
// only the code goes on.
func classify(err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if t, ok := errors.AsType[*textproto.Error](err); ok && t.Code >= 500 {
		return fault.Wrap(fault.Refused, plain(err), fmt.Sprintf("the mail server refused it with code %d", t.Code))
	}
	return fault.Wrap(fault.Unavailable, plain(err), "the mail server did not take it now")
}

func plain(err error) error {
	if t, ok := errors.AsType[*textproto.Error](err); ok {
		return fmt.Errorf("mail server answered %d", t.Code)
	}
	return err
}
