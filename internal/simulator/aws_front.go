package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

const maxBody = 1 << 20 // the documented cap of a metering request, used for every call

// awsError is an error in the service's own shape.
type awsError struct {
	status  int
	code    string
	message string
	extra   map[string]any
}

func (e *awsError) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) *awsError {
	return &awsError{status: http.StatusBadRequest, code: code, message: fmt.Sprintf(format, args...)}
}

// errCut makes the front cut the connection instead of answering.
var errCut = errors.New("cut the connection")

// call is one request to an AWS service, whatever protocol carries it.
type call struct {
	ctx    context.Context
	op     string
	proto  protocol
	body   []byte
	id     string
	conn   net.Conn // the connection it came on
	nobody bool     // it brought the app nothing (an empty receive): not an activity
}

// operation answers a call. It is called without the lock.
type operation func(*call) (any, error)

type service struct {
	namespace string // of its shapes, in error types
	signing   string // SigV4 service name
	json      protocol
	cbor      bool
	ops       map[string]operation
}

func (m *awsMarket) services() map[string]service {
	return map[string]service{
		"AWSMPMeteringService": {
			"com.amazonaws.marketplacemetering", "aws-marketplace", protocolJSON11, true,
			map[string]operation{"BatchMeterUsage": m.batchMeterUsage, "ResolveCustomer": m.resolveCustomer},
		},
		"AWSMPEntitlementService": {
			"com.amazonaws.marketplaceentitlementservice", "aws-marketplace", protocolJSON11, true,
			map[string]operation{"GetEntitlements": m.getEntitlements},
		},
		"AWSMPCommerceService_v20200301": {
			"com.amazonaws.marketplaceagreement", "aws-marketplace", protocolJSON10, true,
			map[string]operation{
				"DescribeAgreement": m.describeAgreement, "SearchAgreements": m.searchAgreements,
				"GetAgreementTerms": m.getAgreementTerms, "GetAgreementEntitlements": m.getAgreementEntitlements,
			},
		},
		"AmazonSQS": {
			"com.amazonaws.sqs", "sqs", protocolJSON10, false,
			map[string]operation{
				"ReceiveMessage": m.queue.receiveMessage, "DeleteMessage": m.queue.deleteMessage,
				"DeleteMessageBatch": m.queue.deleteMessageBatch, "ChangeMessageVisibility": m.queue.changeVisibility,
				"GetQueueAttributes": m.queue.getAttributes, "GetQueueUrl": m.queue.getURL, "SendMessage": m.queue.sendMessage,
			},
		},
	}
}

type connKey struct{}

// server is the one HTTPS port of all services.
func (m *awsMarket) server() *http.Server {
	services := m.services()
	return &http.Server{
		Handler: m.s.counted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.handle(services, w, r) })),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		// What was received on a connection that closes is in nobody's hands any more.
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				m.queue.release(c)
			}
		},
	}
}

func (m *awsMarket) handle(services map[string]service, w http.ResponseWriter, r *http.Request) {
	name, op, proto := target(r)
	svc, ok := services[name]
	do := svc.ops[op]
	if proto == "" || !ok || do == nil || proto == protocolCBOR && !svc.cbor {
		if proto == "" {
			proto = protocolJSON11
		}
		m.answer(w, svc, &call{proto: proto}, nil, refuse("UnknownOperationException", "no operation %q %q", name, op))
		return
	}
	c := &call{ctx: r.Context(), op: op, proto: proto}
	c.conn, _ = r.Context().Value(connKey{}).(net.Conn)
	receive := op == "ReceiveMessage" // it becomes an activity when it has a message to give
	if !receive {
		m.s.begin()
		defer m.s.end()
	}
	m.s.mu.Lock()
	m.calls++
	c.id = m.s.faults.uuid("call", fmt.Sprint(m.calls))
	m.s.mu.Unlock()
	var err error
	c.body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return
	case len(c.body) > maxBody:
		err = &awsError{status: http.StatusRequestEntityTooLarge, code: "RequestEntityTooLargeException", message: "the request is larger than 1 MB"}
	default:
		err = m.checkSignature(r, c.body, svc.signing)
	}
	var out any
	if err == nil {
		if !receive {
			m.s.tell(op, "received")
		}
		out, err = do(c)
	}
	if receive && !c.nobody {
		m.s.begin()
		defer m.s.end()
		m.s.tell(op, "received")
	}
	if errors.Is(err, errCut) {
		m.s.tell(op, "answered")
		panic(http.ErrAbortHandler) // net/http's way to cut a connection without an answer
	}
	m.answer(w, svc, c, out, err)
	if !c.nobody {
		if err := http.NewResponseController(w).Flush(); err != nil {
			m.s.log.Debug("answer not flushed", "error", err)
		}
		m.s.tell(op, "answered")
	}
}

// target reads which operation a request is for: X-Amz-Target on /, or the Smithy RPC v2 path.
func target(r *http.Request) (service, op string, proto protocol) {
	if r.Method != http.MethodPost {
		return "", "", ""
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/service/"); ok {
		service, op, ok = strings.Cut(rest, "/operation/")
		if !ok || r.Header.Get("Smithy-Protocol") != "rpc-v2-cbor" || r.Header.Get("Content-Type") != string(protocolCBOR) {
			return service, op, ""
		}
		return service, op, protocolCBOR
	}
	service, op, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch p := protocol(r.Header.Get("Content-Type")); p {
	case protocolJSON10, protocolJSON11:
		return service, op, p
	default:
		return service, op, ""
	}
}

func (m *awsMarket) answer(w http.ResponseWriter, svc service, c *call, out any, err error) {
	status := http.StatusOK
	if err != nil {
		var e *awsError
		if !errors.As(err, &e) {
			e = &awsError{status: http.StatusInternalServerError, code: "InternalFailure", message: err.Error()}
		}
		body := map[string]any{"__type": svc.namespace + "#" + e.code, "message": e.message}
		for k, v := range e.extra {
			body[k] = v
		}
		if svc.namespace == "com.amazonaws.marketplaceagreement" {
			body["requestId"] = c.id
		}
		if svc.signing == "sqs" {
			w.Header().Set("X-Amzn-Query-Error", queryCode(e.code)+";Sender")
		}
		status, out = e.status, body
		w.Header().Set("X-Amzn-ErrorType", e.code)
	}
	body, err := c.proto.marshal(out)
	if err != nil {
		m.s.log.Error("answer not written", "error", err)
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", string(c.proto))
	w.Header().Set("X-Amzn-RequestId", c.id)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if c.proto == protocolCBOR {
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// decode reads the call's input into v.
func (c *call) decode(v any) error {
	if err := c.proto.unmarshal(c.body, v); err != nil {
		return refuse("SerializationException", "%v", err)
	}
	return nil
}

// weather throttles or breaks a call by seed; half of each. The lock is held.
func (m *awsMarket) weather(kind Kind, subject, broken string) error {
	if !m.s.faults.try(kind, subject) {
		return nil
	}
	if m.s.faults.chance("which", string(kind), subject) < 0.5 {
		return refuse("ThrottlingException", "Rate exceeded")
	}
	return &awsError{status: http.StatusInternalServerError, code: broken, message: "try again"}
}
