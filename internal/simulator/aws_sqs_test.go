package simulator_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

// queueWorld has no app that would empty the queue.
func queueWorld(t *testing.T) (*world, *string) {
	w := good(t)
	w.app.cancel()
	w.app.loops.Wait()
	return w, awssdk.String(w.sim.QueueURL())
}

// process is a queue reader with one connection that lives exactly until it is closed; a pooled client may drop its own.
type process struct {
	conn net.Conn
	in   *bufio.Reader
}

func (w *world) process() (*process, *sqs.Client) {
	w.t.Helper()
	own := w.http.Transport.(*http.Transport)
	d := tls.Dialer{Config: &tls.Config{RootCAs: own.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(w.t.Context(), "tcp", strings.TrimPrefix(w.sim.AWSURL(), "https://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	p := &process{conn: conn, in: bufio.NewReader(conn)}
	return p, sqs.New(w.sqs.Options(), func(o *sqs.Options) { o.HTTPClient = p })
}

func (p *process) Do(r *http.Request) (*http.Response, error) {
	if err := r.Write(p.conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(p.in, r)
}

func (w *world) receive(c *sqs.Client, wait int32) []sqstypes.Message {
	w.t.Helper()
	out, err := c.ReceiveMessage(w.t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: awssdk.String(w.sim.QueueURL()), MaxNumberOfMessages: 10, WaitTimeSeconds: wait, VisibilityTimeout: 3600,
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameApproximateReceiveCount},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Messages
}

func (w *world) send(body string) {
	w.t.Helper()
	if _, err := w.sqs.SendMessage(w.t.Context(), &sqs.SendMessageInput{QueueUrl: awssdk.String(w.sim.QueueURL()), MessageBody: &body}); err != nil {
		w.t.Fatal(err)
	}
}

func TestAMessageIsHiddenUntilItIsGivenBack(t *testing.T) {
	t.Parallel()
	w, url := queueWorld(t)
	w.send("hello")
	_, reader := w.process()
	got := w.receive(reader, 0)
	if len(got) != 1 || *got[0].Body != "hello" || got[0].Attributes["ApproximateReceiveCount"] != "1" {
		t.Fatalf("received %+v", got)
	}
	if again := w.receive(w.sqs, 0); len(again) != 0 {
		t.Fatal("a message in flight was received again")
	}
	if r := w.sim.Rest(); r.Queue != 1 || r.AtRest {
		t.Errorf("an undeleted message is not at rest: %+v", r)
	}
	if _, err := w.sqs.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: got[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	again := w.receive(reader, 0)
	if len(again) != 1 || again[0].Attributes["ApproximateReceiveCount"] != "2" {
		t.Fatalf("given back: %+v", again)
	}
	attrs, err := w.sqs.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	if err != nil || attrs.Attributes["ApproximateNumberOfMessagesNotVisible"] != "1" {
		t.Errorf("attributes %v %v", attrs, err)
	}
	for range 2 { // deleting twice is no error
		if _, err := w.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: again[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.sim.Rest(); r.Queue != 0 {
		t.Errorf("rest %+v", r)
	}
}

func TestALongPollAnswersWhenAMessageComes(t *testing.T) {
	t.Parallel()
	w, _ := queueWorld(t)
	got := make(chan []sqstypes.Message, 1)
	go func() { got <- w.receive(w.sqs, 20) }()
	w.send("late")
	select {
	case msgs := <-got:
		if len(msgs) != 1 {
			t.Errorf("%d messages", len(msgs))
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the long poll slept through a message")
	}
}

func TestWhatADeadConnectionHeldIsVisibleAtOnce(t *testing.T) {
	t.Parallel()
	w, _ := queueWorld(t)
	w.send("hello")
	p, reader := w.process()
	if got := w.receive(reader, 0); len(got) != 1 {
		t.Fatal("nothing received")
	}
	if err := p.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.receive(w.sqs, 20); len(got) != 1 {
		t.Fatal("the message died with its reader")
	}
}

func TestQueueErrorsAreThoseOfSQS(t *testing.T) {
	t.Parallel()
	w, url := queueWorld(t)
	_, err := w.sqs.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: awssdk.String(w.sim.AWSURL() + "/1/other")})
	if got := code(err); got != "AWS.SimpleQueueService.NonExistentQueue" {
		t.Errorf("unknown queue: %v", err)
	}
	_, err = w.sqs.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: awssdk.String("x")})
	if got := code(err); got != "ReceiptHandleIsInvalid" {
		t.Errorf("bad handle: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	w := setup(t, simulator.Options{Weather: simulator.WeatherGood, Credentials: simulator.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}})
	call := func() error {
		_, err := w.metering.ResolveCustomer(t.Context(), &marketplacemetering.ResolveCustomerInput{RegistrationToken: awssdk.String("x")})
		return err
	}
	if err := call(); code(err) != "InvalidTokenException" {
		t.Errorf("a right signature: %v", err)
	}
	if got := w.search("AgreementType", "PurchaseAgreement"); len(got) != 0 {
		t.Errorf("a right signature over CBOR: %v", got)
	}
	metering := *w
	metering.use("AKIDEXAMPLE", "wrong")
	_, err := metering.metering.ResolveCustomer(t.Context(), &marketplacemetering.ResolveCustomerInput{RegistrationToken: awssdk.String("x")})
	if code(err) != "InvalidSignatureException" {
		t.Errorf("a wrong secret: %v", err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.sim.AWSURL()+"/", nil)
	req.Header.Set("X-Amz-Target", "AWSMPMeteringService.ResolveCustomer")
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get("X-Amzn-ErrorType") != "MissingAuthenticationTokenException" {
		t.Errorf("unsigned: %d %v", resp.StatusCode, resp.Header)
	}
}
