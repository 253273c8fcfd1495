package aws

import (
	"context"
	"strconv"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/tailmarket/tailmarket/internal/marketplace"
)

const (
	atOnce     = 10              // messages of one receive, and handled at the same time
	lastDelete = 5 * time.Second // for deleting what was handled when ctx had ended
	// A message that was not taken is shown again after a second, then after two, four, and so
	// on. A queue's redrive policy counts receives, and AWS allows a thousand of them at most:
	// in steps of ten minutes they last for a week without a database.
	comesBackSoon = 1
	comesBackLate = 600
)

// Listen reads the queue, where a message is the bare event, until ctx ends (nil)
// or the queue cannot be read (Throttled, Unavailable: listen again). A message is
// deleted after handle returned nil and comes again otherwise, ever later; it may come
// twice. It returns after the last handle did.
func (a *Adapter) Listen(ctx context.Context, handle func(context.Context, marketplace.Delivery) error) error {
	if a.c.QueueURL == "" {
		<-ctx.Done()
		return nil
	}
	var handling sync.WaitGroup
	defer handling.Wait()
	free := make(chan struct{}, atOnce)
	for range atOnce {
		free <- struct{}{}
	}
	for {
		n := take(ctx, free)
		if n == 0 {
			return nil
		}
		out, err := a.queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: awssdk.String(a.c.QueueURL), MaxNumberOfMessages: int32(n), WaitTimeSeconds: int32(a.wait.Seconds()), //nolint:gosec // at most 10 and 20
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount},
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return readError(err, "receive from the queue")
		}
		for _, m := range out.Messages {
			n--
			handling.Go(func() {
				defer func() { free <- struct{}{} }()
				a.message(ctx, m, handle)
			})
		}
		for range n {
			free <- struct{}{}
		}
	}
}

// take waits for a free place and takes all there are; 0 when ctx ended.
func take(ctx context.Context, free chan struct{}) int {
	select {
	case <-ctx.Done():
		return 0
	case <-free:
	}
	for n := 1; ; n++ {
		select {
		case <-free:
		default:
			return n
		}
	}
}

func (a *Adapter) message(ctx context.Context, m types.Message, handle func(context.Context, marketplace.Delivery) error) {
	err := handle(ctx, marketplace.Delivery{
		Marketplace: marketplace.AWS, Channel: marketplace.SQS, Body: []byte(awssdk.ToString(m.Body)), ReceivedAt: a.now(), Source: a.c.QueueURL,
	})
	// What was handled is deleted even when we are stopping; else it comes again for nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastDelete)
	defer cancel()
	if err != nil {
		a.log.WarnContext(ctx, "queue message not taken", "error", err)
		_, err = a.queue.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
			QueueUrl: awssdk.String(a.c.QueueURL), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: comesBackIn(m),
		})
	} else {
		_, err = a.queue.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: awssdk.String(a.c.QueueURL), ReceiptHandle: m.ReceiptHandle})
	}
	if err != nil {
		a.log.WarnContext(ctx, "queue message comes again later", "error", err)
	}
}

// comesBackIn is how many seconds a message that was not taken stays hidden.
func comesBackIn(m types.Message) int32 {
	in := int32(comesBackSoon)
	received, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if err != nil {
		return in
	}
	for n := 1; n < received && in < comesBackLate; n++ {
		in *= 2
	}
	return min(in, comesBackLate)
}
