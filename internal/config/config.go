package config

import (
	"log/slog"
	"net"
	"path/filepath"
	"time"
)

// Config is everything an operator may set. The accepts tag completes "this
// value is not accepted; write …".
type Config struct {
	Listen      string `default:"127.0.0.1:8080" accepts:"host:port to serve buyers, marketplaces and the API on"`
	PublicURL   string `accepts:"the address buyers and marketplaces reach this server under, such as https://sell.example.com"`
	AdminListen string `default:"127.0.0.1:8081" accepts:"host:port of the private listener (/metrics, /debug/pprof/), or off"`
	DataDir     string `default:"./data" accepts:"a folder this process may write to"`
	DatabaseURL Secret `show:"url" accepts:"postgres://user:password@host:port/database; empty means SQLite in the data folder"`
	RedisURL    Secret `show:"url" accepts:"redis:// or rediss://user:password@host:port/database, of a Cluster with ?addr=host:port for each further node; empty shares nothing between replicas"`
	RedisName   string `default:"tailmarket" accepts:"what keeps installations apart that share a Redis: 1 to 64 letters, digits, dots, dashes"`
	Replicas    int    `default:"1" accepts:"how many processes serve this database, 1 to 1000: each keeps to its share of a marketplace's limit while Redis is lost"`
	ClockURL    string `accepts:"a simulator's clock on loopback, such as http://127.0.0.1:9000; empty means the wall clock"`
	CAFile      string `accepts:"path of a PEM file with a root certificate that outbound calls trust besides the system's"`

	LogFormat string     `default:"text" accepts:"text or json"`
	LogLevel  slog.Level `default:"info" accepts:"debug, info, warn or error"`

	Seller   Seller
	SMTP     SMTP
	AWS      AWS
	GCP      GCP
	Azure    Azure
	Embedded Embedded
	Metering Metering
	Limits   Limits
	Operator Operator
	Instance Instance

	origin map[string]string // setting → where its value came from; for Print
}

// Seller is who the buyers' pages speak for.
type Seller struct {
	Name    string `default:"tailmarket" accepts:"the name buyers know the seller by; at most 80 characters"`
	Support string `accepts:"an e-mail address or an https address where buyers find help; empty sends them to the listing's contact"`
}

// SMTP is where mail to buyers leaves. Without Addr it stays on the operator's
// outbox page.
type SMTP struct {
	Addr     string `accepts:"host:port of a mail server; empty keeps mail on the operator's outbox page"`
	From     string `accepts:"an e-mail address that the mail server may send from"`
	Username string `accepts:"the mail server's user name, with its password"`
	Password Secret `accepts:"the mail server's password, with its user name"`
}

// AWS is what it takes to sell on AWS Marketplace. Product codes are in the
// catalog.
type AWS struct {
	Region          string `default:"us-east-1" accepts:"an AWS region, such as us-east-1"`
	SellerAccount   string `accepts:"the seller's 12-digit AWS account id"`
	Endpoint        string `accepts:"a base URL for all AWS calls (https, or http on loopback); empty means AWS itself"`
	QueueURL        string `accepts:"https URL of the SQS queue that receives the marketplace's events"`
	EventKey        Secret `accepts:"at least 16 characters: the API key that the EventBridge connection sends"`
	EventKeyHeader  string `default:"x-api-key" accepts:"the name of the header that carries the event key"`
	AccessKeyID     string `accepts:"an access key id, with its secret; empty uses the SDK's usual chain"`
	SecretAccessKey Secret `accepts:"the secret of the access key id"`
}

// Enabled reports whether anything was set to sell on AWS.
func (a AWS) Enabled() bool { return a != defaults.AWS }

// GCP is what it takes to sell on Google Cloud Marketplace. Service names are in
// the catalog.
type GCP struct {
	Provider         string        `accepts:"the partner id that Google assigned, usually the listing project's id"`
	Audience         string        `accepts:"the domain registered for sign-up, a bare host"`
	PullSubscription string        `accepts:"projects/PROJECT/subscriptions/NAME whose messages are pulled; empty pulls nothing"`
	PushSubscription string        `accepts:"projects/PROJECT/subscriptions/NAME that pushes to /gcp/events, with its audience and account; empty takes no pushes"`
	PushAudience     string        `accepts:"the audience of the push's token; Pub/Sub's default is the push endpoint's address"`
	PushAccount      string        `accepts:"the e-mail address of the service account that signs pushes"`
	CredentialsFile  string        `accepts:"path of a service account's key or a federation's settings; empty means Google's usual places"`
	Endpoint         string        `accepts:"a base URL for all Google calls (https, or http on loopback), without credentials unless their file is set; empty means Google itself"`
	ResendFor        time.Duration `default:"50m" accepts:"how long an identical report counts as de-duplicated, such as 50m; 0s means never, and doubtful units stay unsure"`
}

// Enabled reports whether anything was set to sell on Google Cloud.
func (g GCP) Enabled() bool { return g != defaults.GCP }

// Azure is what it takes to sell on the Microsoft marketplace. Offers are in the
// catalog.
type Azure struct {
	TenantID           string `accepts:"the GUID of the publisher's directory"`
	ClientID           string `accepts:"the GUID of the app in the offers' technical configuration"`
	ClientSecret       Secret `accepts:"that app's secret; or set a certificate file or a federated token file"`
	CertificateFile    string `accepts:"path of a PEM file with that app's certificate and private key"`
	FederatedTokenFile string `accepts:"path of a workload identity's token"`
	Authority          string `accepts:"https base URL of who issues tokens; empty means Microsoft Entra itself"`
	Endpoint           string `accepts:"https base URL of the fulfilment and metering APIs; empty means Microsoft itself"`
	PublisherID        string `accepts:"the publisher's id; empty does not compare webhooks with it"`
	// The app by which buyers sign in on the landing page, of many tenants, unlike the
	// other. Without a secret or a certificate it takes the federated token.
	SignInClientID        string `accepts:"the GUID of the app by which buyers sign in; empty lets them confirm an e-mail address instead"`
	SignInClientSecret    Secret `accepts:"the sign-in app's secret; or set its certificate file, or the federated token file"`
	SignInCertificateFile string `accepts:"path of a PEM file with the sign-in app's certificate and private key"`
}

// Enabled reports whether anything was set to sell on the Microsoft marketplace.
func (a Azure) Enabled() bool { return a != defaults.Azure }

// Embedded is the tailnet control plane inside this process.
type Embedded struct {
	Listen string `default:"127.0.0.1:0" accepts:"host:port on loopback; port 0 takes a free one"`
}

// Metering sets the rhythm between use and bill. Periods are business time,
// back-off is wall time.
type Metering struct {
	SweepEvery  time.Duration `default:"5m" accepts:"how often every purchase is read back from its marketplace, such as 5m"`
	BackoffBase time.Duration `default:"1s" accepts:"the first pause after a failed try, such as 1s"`
	BackoffMax  time.Duration `default:"5m" accepts:"the longest pause between tries, such as 5m; not under the first"`
}

// Limits bound whatever comes in.
type Limits struct {
	BodyBytes      Size          `default:"1MiB" accepts:"the largest request body, such as 1MiB; 1KiB to 64MiB"`
	UsageBodyBytes Size          `default:"8MiB" accepts:"the largest batch of usage events, such as 8MiB; 1KiB to 64MiB"`
	RequestTimeout time.Duration `default:"15s" accepts:"how long a request may take, such as 15s; at most 10m"`
	HeaderTimeout  time.Duration `default:"5s" accepts:"how long a client may take to send its headers, such as 5s; at most 10m"`
}

// Operator is how the operator signs in.
type Operator struct {
	KeyFile string `accepts:"path of the operator's key; empty means operator.key in the data folder, made at first start"`
}

// Instance is the key under which secrets at rest are encrypted.
type Instance struct {
	KeyFile string `accepts:"path of the instance key; empty means instance.key in the data folder, made at first start"`
}

// Default returns the settings of a start with none set.
func Default() Config { return defaults }

// OperatorKeyFile is where the operator's key is kept.
func (c Config) OperatorKeyFile() string { return c.inData(c.Operator.KeyFile, "operator.key") }

// InstanceKeyFile is where the instance key is kept.
func (c Config) InstanceKeyFile() string { return c.inData(c.Instance.KeyFile, "instance.key") }

func (c Config) inData(path, name string) string {
	if path != "" {
		return path
	}
	return filepath.Join(c.DataDir, name)
}

// BaseURL is the address to print in links, without a slash at its end:
// PublicURL, or when that is empty one made from the address the server in
// fact listens on (the port may have been 0).
func (c Config) BaseURL(listening string) string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	host, port, err := net.SplitHostPort(listening)
	if err != nil {
		return "http://" + listening
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}
