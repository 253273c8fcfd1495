package simulator

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// refused is the stream of a message in the pause after its refusal. A client's earlier wish to keep it longer may come
// after that and is too late.
const refused = -1

const (
	ackDeadline  = 60  // seconds of wall time, of the subscription and where a stream names none
	mostOnStream = 100 // messages in one response
)

// subscription is the pull side of the events' subscription, as the client library uses it: StreamingPull, Acknowledge and
// ModifyAckDeadline over gRPC. It is guarded by the simulator's lock; streams wait on its changes.
type subscription struct {
	pubsubpb.UnimplementedSubscriberServer
	m        *gcpMarket
	messages []*pulled
	streams  int
	copies   int
}

// pulled is one copy of a message; a message delivered again has several.
type pulled struct {
	*published
	copy     string
	received int
	stream   int         // to which it was last given; 0: to be given; or refused
	timer    *time.Timer // makes it visible again, in wall time
}

// handle is the id under which its newest delivery is acknowledged.
func (p *pulled) handle() string { return p.copy + "." + strconv.Itoa(p.received) }

func (sub *subscription) server() *grpc.Server {
	server := grpc.NewServer()
	pubsubpb.RegisterSubscriberServer(server, sub)
	return server
}

// pending is how many messages are not acknowledged.
func (sub *subscription) pending() int { return len(sub.messages) }

// put appends a message; the lock is held.
func (sub *subscription) put(msg *published) {
	sub.m.s.deliveries.Queued++
	sub.copies++
	sub.messages = append(sub.messages, &pulled{published: msg, copy: strconv.Itoa(sub.copies)})
	sub.m.s.touch()
}

func (sub *subscription) stop() {
	sub.m.s.mu.Lock()
	defer sub.m.s.mu.Unlock()
	for _, msg := range sub.messages {
		if msg.timer != nil {
			msg.timer.Stop()
		}
	}
}

func (sub *subscription) show(msg *pulled) {
	if msg.timer != nil {
		msg.timer.Stop()
	}
	msg.stream, msg.timer = 0, nil
	sub.m.s.touch()
}

func (sub *subscription) hide(msg *pulled, stream int, d time.Duration) {
	if msg.timer != nil {
		msg.timer.Stop()
	}
	nth := msg.received
	msg.stream = stream
	msg.timer = time.AfterFunc(d, func() {
		sub.m.s.mu.Lock()
		defer sub.m.s.mu.Unlock()
		if msg.received == nth && msg.stream != 0 {
			sub.show(msg)
		}
	})
}

// release shows again what was given to a stream that is over.
func (sub *subscription) release(stream int) {
	sub.m.s.mu.Lock()
	defer sub.m.s.mu.Unlock()
	for _, msg := range sub.messages {
		if msg.stream == stream {
			sub.show(msg)
		}
	}
}

// held finds the message of an ack id. An id of an earlier delivery still works.
func (sub *subscription) held(ackID string) (int, *pulled) {
	of, _, _ := strings.Cut(ackID, ".")
	for i, msg := range sub.messages {
		if msg.copy == of {
			return i, msg
		}
	}
	return -1, nil
}

// acknowledge drops messages; an id that names none is no error. The lock is held.
func (sub *subscription) acknowledge(ids []string) {
	for _, id := range ids {
		i, msg := sub.held(id)
		if msg == nil {
			continue
		}
		if msg.timer != nil {
			msg.timer.Stop()
		}
		sub.messages = append(sub.messages[:i], sub.messages[i+1:]...)
		sub.m.s.deliveries.Deleted++
		sub.m.s.touch()
	}
}

// extend moves deadlines; 0 seconds is a refusal, and the message comes again after a short pause. The lock is held.
func (sub *subscription) extend(id string, seconds int32) {
	_, msg := sub.held(id)
	switch {
	case msg == nil || msg.stream <= 0 || msg.handle() != id:
	case seconds <= 0:
		sub.hide(msg, refused, min(retryFirst<<min(msg.received, 5), retryMost))
	default:
		sub.hide(msg, msg.stream, time.Duration(seconds)*time.Second)
	}
}

// take picks what is to be given, at most n messages; the lock is held.
func (sub *subscription) take(stream, n int, deadline time.Duration) []*pubsubpb.ReceivedMessage {
	var out []*pubsubpb.ReceivedMessage
	for _, msg := range sub.messages {
		if msg.stream != 0 || len(out) == n {
			continue
		}
		msg.received++
		sub.hide(msg, stream, deadline)
		out = append(out, &pubsubpb.ReceivedMessage{
			AckId:   msg.handle(),
			Message: &pubsubpb.PubsubMessage{Data: msg.data, MessageId: msg.id, PublishTime: timestamppb.New(msg.at)},
		})
	}
	return out
}

func (sub *subscription) given(stream int) int {
	n := 0
	for _, msg := range sub.messages {
		if msg.stream == stream {
			n++
		}
	}
	return n
}

// StreamingPull gives messages to one stream until either side ends it. Whatever it holds then is in nobody's hands any more.
func (sub *subscription) StreamingPull(stream pubsubpb.Subscriber_StreamingPullServer) error {
	ctx, s := stream.Context(), sub.m.s
	if err := sub.check(ctx, ""); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if err := sub.check(ctx, first.GetSubscription()); err != nil {
		return err
	}
	s.mu.Lock()
	sub.streams++
	number := sub.streams
	s.mu.Unlock()
	defer sub.release(number)
	limits := streamLimits{deadline: ackDeadline * time.Second, messages: mostOnStream}
	limits.set(first)
	pings, ended := make(chan struct{}, 1), make(chan error, 1)
	s.running.Go(func() { sub.listen(stream, pings, ended) })
	for {
		s.mu.Lock()
		msgs := sub.take(number, limits.room(sub.given(number)), limits.deadline)
		cut := len(msgs) > 0 && s.faults.try(KindReadFault, "StreamingPull")
		wake := s.wake
		s.mu.Unlock()
		if len(msgs) > 0 {
			if err := sub.give(stream, msgs); err != nil {
				return err
			}
			if cut {
				return status.Error(codes.Unavailable, "The service was unable to fulfill your request. Please try again.")
			}
			continue
		}
		select {
		case <-wake:
		case <-pings: // a client of protocol version 1 expects an answer
			if err := stream.Send(&pubsubpb.StreamingPullResponse{}); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

type streamLimits struct {
	deadline time.Duration
	messages int
}

func (l *streamLimits) set(req *pubsubpb.StreamingPullRequest) {
	if n := req.GetStreamAckDeadlineSeconds(); n > 0 {
		l.deadline = time.Duration(n) * time.Second
	}
	if n := req.GetMaxOutstandingMessages(); n > 0 {
		l.messages = int(n)
	}
}

func (l *streamLimits) room(given int) int { return max(min(l.messages-given, mostOnStream), 0) }

// give sends messages as an activity, so that whoever watches calls sees them come.
func (sub *subscription) give(stream pubsubpb.Subscriber_StreamingPullServer, msgs []*pubsubpb.ReceivedMessage) error {
	sub.m.s.begin()
	defer sub.m.s.end()
	sub.m.s.tell("StreamingPull", "received")
	err := stream.Send(&pubsubpb.StreamingPullResponse{
		ReceivedMessages:       msgs,
		SubscriptionProperties: &pubsubpb.StreamingPullResponse_SubscriptionProperties{},
	})
	sub.m.s.tell("StreamingPull", "answered")
	return err
}

// listen reads what the client says on its stream after the first request.
func (sub *subscription) listen(stream pubsubpb.Subscriber_StreamingPullServer, pings chan<- struct{}, ended chan<- error) {
	for {
		req, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			ended <- err
			return
		}
		sub.m.s.mu.Lock()
		sub.acknowledge(req.GetAckIds())
		for i, id := range req.GetModifyDeadlineAckIds() {
			if i < len(req.GetModifyDeadlineSeconds()) {
				sub.extend(id, req.GetModifyDeadlineSeconds()[i])
			}
		}
		sub.m.s.mu.Unlock()
		select {
		case pings <- struct{}{}:
		default:
		}
	}
}

// check refuses a stranger, and another subscription than the one there is.
func (sub *subscription) check(ctx context.Context, name string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if err := sub.m.authorized(strings.Join(md.Get("authorization"), " ")); err != nil {
		return status.Error(codes.Unauthenticated, err.message)
	}
	if name != "" && name != sub.m.o.Subscription {
		return status.Errorf(codes.NotFound, "Resource not found (resource=%s).", name)
	}
	return nil
}

// Acknowledge drops messages for good.
func (sub *subscription) Acknowledge(ctx context.Context, req *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	if err := sub.check(ctx, req.GetSubscription()); err != nil {
		return nil, err
	}
	sub.m.s.mu.Lock()
	defer sub.m.s.mu.Unlock()
	sub.acknowledge(req.GetAckIds())
	return &emptypb.Empty{}, nil
}

// ModifyAckDeadline keeps messages longer, or refuses them.
func (sub *subscription) ModifyAckDeadline(ctx context.Context, req *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	if err := sub.check(ctx, req.GetSubscription()); err != nil {
		return nil, err
	}
	if n := req.GetAckDeadlineSeconds(); n < 0 || n > 600 {
		return nil, status.Error(codes.InvalidArgument, "The ack deadline must be between 0 and 600 seconds.")
	}
	sub.m.s.mu.Lock()
	defer sub.m.s.mu.Unlock()
	for _, id := range req.GetAckIds() {
		sub.extend(id, req.GetAckDeadlineSeconds())
	}
	return &emptypb.Empty{}, nil
}

// GetSubscription describes the subscription; without an expiration it would be gone after 31 quiet days.
func (sub *subscription) GetSubscription(ctx context.Context, req *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	if err := sub.check(ctx, req.GetSubscription()); err != nil {
		return nil, err
	}
	return &pubsubpb.Subscription{
		Name: sub.m.o.Subscription, Topic: "projects/cloudcommerceproc-prod/topics/" + sub.m.o.Provider,
		AckDeadlineSeconds: ackDeadline, MessageRetentionDuration: durationpb.New(gcpRetention),
		ExpirationPolicy: &pubsubpb.ExpirationPolicy{}, State: pubsubpb.Subscription_ACTIVE,
	}, nil
}
