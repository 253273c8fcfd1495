package simulator_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/cloudcommerceprocurement/v1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"golang.org/x/oauth2"

	"github.com/tailmarket/tailmarket/internal/simulator"
)

func TestAPushIsRefusedUntilItIsTaken(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	var refusals atomic.Int32
	g.mu.Lock()
	g.refuse = func(e gcpEvent) int {
		if e.EventType == "ACCOUNT_ACTIVE" && refusals.Add(1) <= 4 {
			return []int{http.StatusBadRequest, http.StatusFound, http.StatusServiceUnavailable, http.StatusConflict}[refusals.Load()-1]
		}
		return http.StatusCreated
	}
	g.mu.Unlock()
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	g.advance(10 * time.Second)
	if r := g.sim.Rest(); r.AtRest {
		t.Error("a refused message is to come again, and the world is at rest")
	}
	g.advance(10 * time.Minute)
	if got := g.kinds(b.Account); len(got) != 5 {
		t.Errorf("came %d times", len(got))
	}
	r := g.sim.Rest()
	if !r.AtRest || r.Totals.Refused != 3 {
		t.Errorf("rest %+v", r)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := map[string]bool{}
	for _, e := range g.events {
		ids[e.messageID] = true
	}
	if len(ids) != 3 {
		t.Errorf("redelivered under another message id: %v", ids)
	}
}

func TestAForgedPushComesBeforeTheTrueOne(t *testing.T) {
	t.Parallel()
	g := goodGoogle(t)
	g.sim.Force(simulator.Force{Kind: simulator.KindForgedWebhook, Times: 60})
	for range 20 {
		g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	}
	g.advance(time.Minute)
	if r := g.sim.Rest(); r.Totals.Believed != 0 || r.Totals.Accepted != 60 || g.sim.Faults()["forged_webhook"] != 60 {
		t.Errorf("rest %+v, faults %v", r, g.sim.Faults())
	}
}

func TestTheLibraryPullsWhatIsNotPushed(t *testing.T) {
	t.Parallel()
	g := googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Channel: simulator.ChannelSQS}})
	var nacked atomic.Bool
	g.pull(func(_ context.Context, m *pubsub.Message) {
		g.keep(m.Data, m.ID, "pull")
		if m.PublishTime.Before(start) || m.PublishTime.After(start.Add(24*time.Hour)) {
			t.Errorf("published %s", m.PublishTime)
		}
		if nacked.CompareAndSwap(false, true) {
			m.Nack()
			return
		}
		m.Ack()
	})
	b := g.buy(simulator.Purchase{Marketplace: simulator.GCP})
	g.advance(time.Hour)
	if got := g.buyer(b.ID); !got.JoinKeySeen {
		t.Fatalf("buyer %+v", got)
	}
	if got := slices.Concat(g.kinds(b.Account), g.kinds(b.Purchase)); len(got) != 5 {
		t.Errorf("four messages, one of them twice: %v", got)
	}
	if r := g.sim.Rest(); !r.AtRest || r.Totals.Queued != 4 || r.Totals.Deleted != 4 {
		t.Errorf("rest %+v", r)
	}
}

// A client that dies with messages in hand loses nothing, and the clock waits for its successor.
func TestWhatADeadClientHeldIsGivenAgainAtOnce(t *testing.T) {
	t.Parallel()
	g := googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{Channel: simulator.ChannelSQS}})
	conn := g.dial("any")
	sub := pubsubpb.NewSubscriberClient(conn)
	stream := g.stream(sub)
	g.buy(simulator.Purchase{Marketplace: simulator.GCP, Habits: absent()})
	done := make(chan error, 1)
	go func() { done <- g.sim.Advance(t.Context(), start.Add(time.Minute)) }()
	first, err := stream.Recv()
	if err != nil || len(first.GetReceivedMessages()) == 0 {
		t.Fatalf("%v %v", first, err)
	}
	_ = conn.Close() // dies without a word
	select {
	case err := <-done:
		t.Fatalf("the clock went on over messages in flight: %v", err)
	default:
	}
	sub = pubsubpb.NewSubscriberClient(g.dial("any"))
	stream, name := g.stream(sub), g.sim.Options().GCP.Subscription
	if err := stream.Send(&pubsubpb.StreamingPullRequest{}); err != nil { // a keep-alive is answered
		t.Fatal(err)
	}
	seen := map[string]int{}
	for len(seen) < 3 {
		out, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.GetReceivedMessages() {
			seen[m.GetMessage().GetMessageId()]++
			if _, err := sub.ModifyAckDeadline(t.Context(), &pubsubpb.ModifyAckDeadlineRequest{Subscription: name, AckIds: []string{m.GetAckId()}, AckDeadlineSeconds: 60}); err != nil {
				t.Error(err)
			}
			if _, err := sub.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: name, AckIds: []string{m.GetAckId()}}); err != nil {
				t.Error(err)
			}
		}
	}
	if err := <-done; err != nil || seen[first.GetReceivedMessages()[0].GetMessage().GetMessageId()] != 1 {
		t.Errorf("%v %v", seen, err)
	}
}

func (g *gcpWorld) stream(sub pubsubpb.SubscriberClient) grpc.BidiStreamingClient[pubsubpb.StreamingPullRequest, pubsubpb.StreamingPullResponse] {
	g.t.Helper()
	stream, err := sub.StreamingPull(g.t.Context())
	if err == nil {
		err = stream.Send(&pubsubpb.StreamingPullRequest{Subscription: g.sim.Options().GCP.Subscription, StreamAckDeadlineSeconds: 60})
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return stream
}

func (g *gcpWorld) dial(token string) *grpc.ClientConn {
	g.t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(g.sim.GCPURL(), "https://"),
		grpc.WithTransportCredentials(credentials.NewTLS(g.tls())), grpc.WithPerRPCCredentials(grpcBearer(token)))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTheSubscriptionIsOneAndHasADoor(t *testing.T) {
	t.Parallel()
	g := googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{VerifyCredentials: true}})
	name := g.sim.Options().GCP.Subscription
	get := func(token, name string) (*pubsubpb.Subscription, error) {
		return pubsubpb.NewSubscriberClient(g.dial(token)).GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: name})
	}
	if _, err := get("any", name); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token from nowhere: %v", err)
	}
	token := g.token()
	if _, err := get(token, "projects/other/subscriptions/other"); status.Code(err) != codes.NotFound {
		t.Errorf("another subscription: %v", err)
	}
	s, err := get(token, name)
	if err != nil || s.GetTopic() != "projects/cloudcommerceproc-prod/topics/example-public" || s.GetExpirationPolicy() == nil || s.GetExpirationPolicy().GetTtl() != nil {
		t.Errorf("%v %v", s, err)
	}
}

// token gets an access token from the simulator's endpoint with Google's own OAuth library.
func (g *gcpWorld) token() string {
	g.t.Helper()
	file, err := g.sim.GCPCredentials()
	if err != nil {
		g.t.Fatal(err)
	}
	config, err := google.JWTConfigFromJSON(file, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		g.t.Fatal(err)
	}
	token, err := config.TokenSource(context.WithValue(g.t.Context(), oauth2.HTTPClient, g.http)).Token()
	if err != nil {
		g.t.Fatal(err)
	}
	return token.AccessToken
}

func TestCredentialsAreCheckedWhenWanted(t *testing.T) {
	t.Parallel()
	g := googleWorld(t, simulator.Options{Weather: simulator.WeatherGood, GCP: simulator.GCPOptions{VerifyCredentials: true}})
	list := func(hc *http.Client) error {
		s, err := cloudcommerceprocurement.NewService(t.Context(), option.WithHTTPClient(hc), option.WithEndpoint(g.sim.GCPURL()+"/"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Providers.Accounts.List(gcpProvider).Do()
		return err
	}
	if err := list(g.http); gcpCode(err) != http.StatusUnauthorized {
		t.Errorf("no token at all: %v", err)
	}
	if err := list(&http.Client{Transport: bearer{g.http.Transport}}); gcpCode(err) != http.StatusUnauthorized {
		t.Errorf("a token from nowhere: %v", err)
	}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, g.http)
	if err := list(oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: g.token()}))); err != nil {
		t.Errorf("from the token endpoint: %v", err)
	}
	file, err := g.sim.GCPCredentials()
	if err != nil {
		t.Fatal(err)
	}
	own, err := google.JWTAccessTokenSourceWithScope(file, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		t.Fatal(err)
	}
	if err := list(oauth2.NewClient(ctx, own)); err != nil {
		t.Errorf("signed by the account itself: %v", err)
	}
}

func TestEveryGoogleBuyerFinishesWhateverTheSeed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			g := googleWorld(t, simulator.Options{Seed: seed})
			g.pull(func(_ context.Context, m *pubsub.Message) {
				g.keep(m.Data, m.ID, "pull")
				m.Ack()
			})
			for range 6 {
				g.buy(simulator.Purchase{Marketplace: simulator.GCP})
			}
			g.advance(13 * time.Hour)
			g.buy(simulator.Purchase{Marketplace: simulator.GCP}) // after the keys were changed
			g.advance(13 * time.Hour)
			for _, b := range g.sim.Buyers() {
				if b.Finished == "" || b.State != "active" || b.JoinKeySeen == b.Habits.NeverReveal || b.Status != "ACTIVE" {
					t.Errorf("buyer %+v", b)
				}
				e := g.list(t.Context(), `account="`+b.Account+`"`)[0]
				from, to := g.sim.Now().Add(-time.Hour), g.sim.Now()
				for i := range 3 {
					_, failed := g.resend(gcpUsage(fmt.Sprint(b.ID, i), e.UsageReportingId, "active_user", from.Add(time.Duration(i)*time.Minute), to, 10))
					for range failed { // not recorded: the same units go into another operation
						g.resend(gcpUsage(fmt.Sprint(b.ID, i, "again"), e.UsageReportingId, "active_user", from.Add(time.Duration(10+i)*time.Minute), to, 10))
					}
				}
				if n := g.billed(b.Purchase, "active_user"); n != 30 {
					t.Errorf("%s billed %d", b.ID, n)
				}
			}
			if r := g.sim.Rest(); !r.AtRest || r.Totals.Believed != 0 {
				t.Errorf("rest %+v %v", r, g.sim.Agenda())
			}
			met := g.sim.Faults()
			for _, k := range []simulator.Kind{
				simulator.KindDrop, simulator.KindDelay, simulator.KindReorder, simulator.KindRepeat, simulator.KindOperationError, simulator.KindNamelessError,
				simulator.KindAcceptThenClose, simulator.KindAcceptThen5xx, simulator.KindThrottle, simulator.KindKeyRotation, simulator.KindDecisionFault,
			} {
				if met[string(k)] == 0 {
					t.Errorf("six purchases did not meet %s: %v", k, met)
				}
			}
		})
	}
}
