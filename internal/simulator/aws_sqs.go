package simulator

import (
	"crypto/md5" //nolint:gosec // the SQS protocol carries an MD5 of every body; nothing is protected by it
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const queueName = "tailmarket-events"

// defaultVisibility is short, because it is wall time during which the clock stands still.
const defaultVisibility = 5 * time.Second

// maxReceives is the highest a redrive policy allows: whoever receives a message so often without deleting it has lost it
// to the dead-letter queue.
const maxReceives = 1000

// queue is one SQS standard queue. It is guarded by the simulator's lock; long polls wait on its changes.
type queue struct {
	m        *awsMarket
	messages []*message
	sent     int
}

type message struct {
	id       string
	body     string
	at       time.Time
	received int
	conn     net.Conn    // on which it was last received; nil: visible
	timer    *time.Timer // makes it visible again, in wall time
	deferred bool        // handed back until a time of the clock; see Options.QueueByClock
}

func (m *message) visible() bool { return m.conn == nil && !m.deferred }

func newQueue(m *awsMarket) *queue { return &queue{m: m} }

func (q *queue) url() string {
	return q.m.s.AWSURL() + "/" + q.m.s.o.SellerAccount + "/" + queueName
}

// pending is how many messages are not deleted; the clock waits for all of them but those that wait for the clock.
func (q *queue) pending() int {
	n := 0
	for _, msg := range q.messages {
		if !msg.deferred {
			n++
		}
	}
	return n
}

// put appends a message; the lock is held.
func (q *queue) put(body []byte) string {
	q.sent++
	q.m.s.deliveries.Queued++
	msg := &message{id: q.m.s.faults.uuid("message", strconv.Itoa(q.sent)), body: string(body), at: q.m.s.now}
	q.messages = append(q.messages, msg)
	q.m.s.touch()
	return msg.id
}

// release makes what was received on a closed connection visible at once.
func (q *queue) release(c net.Conn) {
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	for _, msg := range q.messages {
		if msg.conn == c {
			q.show(msg)
		}
	}
}

func (q *queue) show(msg *message) {
	if msg.timer != nil {
		msg.timer.Stop()
	}
	msg.conn, msg.timer, msg.deferred = nil, nil, false
	q.m.s.touch()
}

// wait hides a message until the clock has moved by d.
func (q *queue) wait(msg *message, d time.Duration) {
	q.show(msg)
	nth := msg.received
	msg.deferred = true
	q.m.s.quietly(q.m.s.now.Add(d), "queue", func() {
		if msg.received == nth && msg.deferred {
			q.show(msg)
		}
	})
}

func (q *queue) hide(msg *message, c net.Conn, d time.Duration) {
	if msg.timer != nil {
		msg.timer.Stop()
	}
	nth := msg.received
	msg.conn = c
	msg.timer = time.AfterFunc(d, func() {
		q.m.s.mu.Lock()
		defer q.m.s.mu.Unlock()
		if msg.received == nth && msg.conn != nil {
			q.show(msg)
		}
	})
}

func (q *queue) stop() {
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	for _, msg := range q.messages {
		if msg.timer != nil {
			msg.timer.Stop()
		}
	}
}

func (q *queue) check(url string) error {
	if !strings.HasSuffix(url, "/"+queueName) {
		return refuse("QueueDoesNotExist", "The specified queue does not exist.")
	}
	return nil
}

func queryCode(code string) string {
	if code == "QueueDoesNotExist" {
		return "AWS.SimpleQueueService.NonExistentQueue"
	}
	return code
}

func (q *queue) receiveMessage(c *call) (any, error) {
	var in struct {
		QueueURL                    string `json:"QueueUrl"`
		MaxNumberOfMessages         *int
		VisibilityTimeout           *int
		WaitTimeSeconds             *int
		AttributeNames              []string
		MessageSystemAttributeNames []string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check(in.QueueURL); err != nil {
		return nil, err
	}
	most, hidden, wait := 1, defaultVisibility, time.Duration(0)
	if in.MaxNumberOfMessages != nil {
		most = *in.MaxNumberOfMessages
	}
	if in.VisibilityTimeout != nil {
		hidden = time.Duration(*in.VisibilityTimeout) * time.Second
	}
	if in.WaitTimeSeconds != nil {
		wait = time.Duration(*in.WaitTimeSeconds) * time.Second
	}
	if most < 1 || most > 10 || wait < 0 || wait > 20*time.Second || hidden < 0 || hidden > 12*time.Hour {
		return nil, refuse("InvalidParameterValue", "MaxNumberOfMessages, WaitTimeSeconds or VisibilityTimeout is out of range")
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	s := q.m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for waiting := wait > 0; waiting && !slices.ContainsFunc(q.messages, (*message).visible); {
		wake := s.wake
		s.mu.Unlock()
		select {
		case <-wake:
		case <-timer.C:
			waiting = false
		case <-c.ctx.Done():
			waiting = false
		}
		s.mu.Lock()
	}
	names := slices.Concat(in.AttributeNames, in.MessageSystemAttributeNames)
	out := []map[string]any{}
	q.bury()
	for _, msg := range q.messages {
		if !msg.visible() || len(out) == most || c.ctx.Err() != nil {
			continue
		}
		msg.received++
		q.hide(msg, c.conn, hidden)
		out = append(out, msg.wire(names))
	}
	if c.nobody = len(out) == 0; c.nobody {
		return map[string]any{}, nil
	}
	s.touch()
	return map[string]any{"Messages": out}, nil
}

// bury moves what was received too often to the dead-letter queue.
func (q *queue) bury() {
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		dead := m.visible() && m.received >= maxReceives
		if dead {
			q.m.s.deliveries.Dead++
			q.m.s.touch()
		}
		return dead
	})
}

func (m *message) wire(names []string) map[string]any {
	sum := md5.Sum([]byte(m.body)) //nolint:gosec // see the import
	all := map[string]string{
		"SentTimestamp": strconv.FormatInt(m.at.UnixMilli(), 10), "ApproximateReceiveCount": strconv.Itoa(m.received),
	}
	attributes := map[string]string{}
	for k, v := range all {
		if slices.Contains(names, k) || slices.Contains(names, "All") {
			attributes[k] = v
		}
	}
	out := map[string]any{
		"MessageId": m.id, "ReceiptHandle": fmt.Sprintf("%s.%d", m.id, m.received), "Body": m.body,
		"MD5OfBody": hex.EncodeToString(sum[:]),
	}
	if len(attributes) > 0 {
		out["Attributes"] = attributes
	}
	return out
}

// held finds the message of a receipt handle. A handle of an earlier receipt still works, and one of a deleted message
// names nothing, which a delete takes for success.
func (q *queue) held(handle string) (int, error) {
	id, nth, ok := strings.Cut(handle, ".")
	if _, err := strconv.Atoi(nth); !ok || err != nil {
		return -1, refuse("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
	}
	return slices.IndexFunc(q.messages, func(m *message) bool { return m.id == id }), nil
}

func (q *queue) remove(handle string) error {
	i, err := q.held(handle)
	if err != nil || i < 0 {
		return err
	}
	if t := q.messages[i].timer; t != nil {
		t.Stop()
	}
	q.messages = slices.Delete(q.messages, i, i+1)
	q.m.s.deliveries.Deleted++
	return nil
}

type handleInput struct {
	ID                string `json:"Id"`
	QueueURL          string `json:"QueueUrl"`
	ReceiptHandle     string
	VisibilityTimeout int
}

func (q *queue) deleteMessage(c *call) (any, error) {
	var in handleInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check(in.QueueURL); err != nil {
		return nil, err
	}
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	return map[string]any{}, q.remove(in.ReceiptHandle)
}

func (q *queue) deleteMessageBatch(c *call) (any, error) {
	var in struct {
		QueueURL string `json:"QueueUrl"`
		Entries  []handleInput
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check(in.QueueURL); err != nil {
		return nil, err
	}
	if len(in.Entries) < 1 || len(in.Entries) > 10 {
		return nil, refuse("TooManyEntriesInBatchRequest", "want 1 to 10 entries")
	}
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	done, failed := []map[string]any{}, []map[string]any{}
	for _, e := range in.Entries {
		if err := q.remove(e.ReceiptHandle); err != nil {
			failed = append(failed, map[string]any{"Id": e.ID, "SenderFault": true, "Code": "ReceiptHandleIsInvalid"})
			continue
		}
		done = append(done, map[string]any{"Id": e.ID})
	}
	return map[string]any{"Successful": done, "Failed": failed}, nil
}

func (q *queue) changeVisibility(c *call) (any, error) {
	var in handleInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check(in.QueueURL); err != nil {
		return nil, err
	}
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	i, err := q.held(in.ReceiptHandle)
	switch {
	case err != nil:
		return nil, err
	case i < 0 || q.messages[i].visible():
		return nil, refuse("MessageNotInflight", "The specified message isn't in flight.")
	case in.VisibilityTimeout <= 0:
		q.show(q.messages[i])
	case q.m.s.o.QueueByClock:
		q.wait(q.messages[i], time.Duration(in.VisibilityTimeout)*time.Second)
	default:
		q.hide(q.messages[i], q.messages[i].conn, time.Duration(in.VisibilityTimeout)*time.Second)
	}
	return map[string]any{}, nil
}

func (q *queue) getAttributes(c *call) (any, error) {
	var in handleInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check(in.QueueURL); err != nil {
		return nil, err
	}
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	visible := 0
	for _, msg := range q.messages {
		if msg.visible() {
			visible++
		}
	}
	return map[string]any{"Attributes": map[string]string{
		"QueueArn":                              "arn:aws:sqs:us-east-1:" + q.m.s.o.SellerAccount + ":" + queueName,
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(len(q.messages) - visible),
		"VisibilityTimeout":                     strconv.Itoa(int(defaultVisibility.Seconds())),
	}}, nil
}

func (q *queue) getURL(c *call) (any, error) {
	var in struct{ QueueName string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check("/" + in.QueueName); err != nil {
		return nil, err
	}
	return map[string]any{"QueueUrl": q.url()}, nil
}

// sendMessage lets tests put any body on the queue, as a foreign sender could.
func (q *queue) sendMessage(c *call) (any, error) {
	var in struct {
		QueueURL    string `json:"QueueUrl"`
		MessageBody string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := q.check(in.QueueURL); err != nil {
		return nil, err
	}
	if in.MessageBody == "" {
		return nil, &awsError{status: http.StatusBadRequest, code: "MissingParameter", message: "MessageBody is required"}
	}
	q.m.s.mu.Lock()
	defer q.m.s.mu.Unlock()
	sum := md5.Sum([]byte(in.MessageBody)) //nolint:gosec // see the import
	return map[string]any{"MessageId": q.put([]byte(in.MessageBody)), "MD5OfMessageBody": hex.EncodeToString(sum[:])}, nil
}
