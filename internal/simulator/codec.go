package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// protocol is how one call is written: the AWS JSON protocols or Smithy RPC v2 CBOR. The wire structs carry json tags
// only; the CBOR library reads those too, so both protocols share one set of shapes.
type protocol string

const (
	protocolJSON10 protocol = "application/x-amz-json-1.0"
	protocolJSON11 protocol = "application/x-amz-json-1.1"
	protocolCBOR   protocol = "application/cbor"
)

func (p protocol) marshal(v any) ([]byte, error) {
	if p == protocolCBOR {
		return cbor.Marshal(v)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

func (p protocol) unmarshal(body []byte, v any) error {
	if len(body) == 0 {
		return nil
	}
	if p == protocolCBOR {
		return cbor.Unmarshal(body, v)
	}
	return json.Unmarshal(body, v)
}

// stamp is a time as the AWS protocols write it: seconds since the epoch, in CBOR under tag 1 as a float64.
type stamp struct{ time.Time }

func stampOf(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	return &stamp{t.UTC()}
}

func (t stamp) seconds() float64 { return float64(t.UnixMilli()) / 1e3 }

func (t *stamp) set(seconds float64) error {
	if math.IsNaN(seconds) || math.Abs(seconds) > 1e11 {
		return fmt.Errorf("timestamp %v is not in seconds since the epoch", seconds)
	}
	t.Time = time.UnixMilli(int64(math.Round(seconds * 1e3))).UTC()
	return nil
}

func (t stamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, t.seconds(), 'f', -1, 64), nil
}

func (t *stamp) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("timestamp %s is not a number", b)
	}
	return t.set(f)
}

func (t stamp) MarshalCBOR() ([]byte, error) {
	return cbor.Marshal(cbor.Tag{Number: 1, Content: t.seconds()})
}

func (t *stamp) UnmarshalCBOR(b []byte) error {
	var raw cbor.RawTag
	if err := cbor.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	if raw.Number != 1 {
		return fmt.Errorf("timestamp has tag %d, want 1", raw.Number)
	}
	var f float64
	if err := cbor.Unmarshal(raw.Content, &f); err != nil {
		var n int64
		if err := cbor.Unmarshal(raw.Content, &n); err != nil {
			return fmt.Errorf("timestamp: %w", err)
		}
		f = float64(n)
	}
	return t.set(f)
}
