package gcp_test

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tailmarket/tailmarket/internal/marketplace/gcp"
)

// queue is one subscription over gRPC: what is not acknowledged is shown again
// when its deadline is set to now.
type queue struct {
	pubsubpb.UnimplementedSubscriberServer
	address string

	mu    sync.Mutex
	ready []*pubsubpb.ReceivedMessage
	out   map[string]*pubsubpb.ReceivedMessage
	acks  map[string]int // by message id
	more  chan struct{}  // closed and made anew when something is ready
	shown int
	limit int64 // messages that the client wants at once
}

func openQueue(t testing.TB) (*queue, *gcp.Adapter) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := &queue{address: l.Addr().String(), out: map[string]*pubsubpb.ReceivedMessage{}, acks: map[string]int{}, more: make(chan struct{})}
	s := grpc.NewServer()
	pubsubpb.RegisterSubscriberServer(s, q)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { s.Stop(); serving.Wait() })
	c := settings()
	c.Endpoint = "http://" + q.address
	return q, (&google{now: noon}).reopen(t, c)
}

// published is when every message was.
var published = noon.Add(-time.Minute)

// publish makes a message and returns its id.
func (q *queue) publish(data string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shown++
	id := "m" + strconv.Itoa(q.shown)
	q.show(&pubsubpb.ReceivedMessage{Message: &pubsubpb.PubsubMessage{Data: []byte(data), MessageId: id, PublishTime: timestamppb.New(published)}})
	return id
}

func (q *queue) show(m *pubsubpb.ReceivedMessage) {
	q.shown++
	q.ready = append(q.ready, &pubsubpb.ReceivedMessage{AckId: "a" + strconv.Itoa(q.shown), Message: m.GetMessage()})
	close(q.more)
	q.more = make(chan struct{})
}

// acknowledged is how often a message was, and whether any is left.
func (q *queue) acknowledged(id string) (times, left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.acks[id], len(q.ready) + len(q.out)
}

func (q *queue) StreamingPull(stream pubsubpb.Subscriber_StreamingPullServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetSubscription() != pulled {
		return status.Error(codes.NotFound, "no such subscription")
	}
	q.mu.Lock()
	q.limit = first.GetMaxOutstandingMessages()
	q.mu.Unlock()
	closed := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(closed)
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	})
	for {
		q.mu.Lock()
		batch, more := q.ready, q.more
		q.ready = nil
		for _, m := range batch {
			q.out[m.GetAckId()] = m
		}
		q.mu.Unlock()
		if len(batch) > 0 {
			if err := stream.Send(&pubsubpb.StreamingPullResponse{ReceivedMessages: batch}); err != nil {
				return err
			}
		}
		select {
		case <-more:
		case <-closed:
			return nil
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (q *queue) Acknowledge(_ context.Context, r *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range r.GetAckIds() {
		if m := q.out[id]; m != nil {
			q.acks[m.GetMessage().GetMessageId()]++
			delete(q.out, id)
		}
	}
	return &emptypb.Empty{}, nil
}

func (q *queue) ModifyAckDeadline(_ context.Context, r *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range r.GetAckIds() {
		if m := q.out[id]; m != nil && r.GetAckDeadlineSeconds() == 0 {
			delete(q.out, id)
			q.show(m)
		}
	}
	return &emptypb.Empty{}, nil
}
