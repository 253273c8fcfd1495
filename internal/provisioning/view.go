package provisioning

import (
	"context"
	"time"

	"github.com/tailmarket/tailmarket/internal/id"
)

// View is what may be shown of a purchase's tailnet.
type View struct {
	Tailnet     id.Tailnet // empty while there is none
	Name        string     // the buyer's
	DNSName     string
	RemoteID    string
	Driver      string
	State       State
	Step        Step
	Since       time.Time     // of the step
	WaitingFor  string        // empty when nothing is
	WhoActs     string        // empty when nobody must
	Usually     time.Duration // how long the step usually takes; 0 when nobody can say
	KeyReady    bool          // a join key waits to be revealed
	KeyRevealed bool          // once; NewKey makes another
	CanAskKey   bool          // NewKey would be heard
	Dry         bool          // the control plane carries no traffic
	ReadyAt     time.Time
	SuspendedAt time.Time
	RevokedAt   time.Time
}

// DryText is what is said where Dry is.
const DryText = "This network is kept by the built-in control plane: it records people, machines and keys, and carries no traffic."

type wait struct {
	what  string
	who   string
	usual time.Duration
}

const we = "nobody: this runs by itself"

var waits = map[Step]wait{
	StepCreate:   {"the control plane makes the network", we, 10 * time.Second},
	StepPolicy:   {"the network's access policy is written", we, 5 * time.Second},
	StepSettings: {"the network's settings are written", we, 5 * time.Second},
	StepKey:      {"a join key is made", we, 5 * time.Second},
	StepDoor:     {"the network is closed for new machines", we, 5 * time.Second},
	StepKeys:     {"join keys are revoked", we, 5 * time.Second},
	StepCut:      {"connections inside the network are cut", we, 5 * time.Second},
}

// View shows the tailnet of a purchase. A purchase without one has the zero View.
func (s *Service) View(ctx context.Context, sub id.Subscription) (View, error) {
	t, _, ok, err := s.Store.TailnetUsedBy(ctx, sub)
	if err != nil || !ok {
		return View{}, err
	}
	held := t.Holder == sub
	v := View{
		Tailnet: t.ID, Name: t.Name, DNSName: t.Remote.DNSName, RemoteID: t.Remote.ID, Driver: t.Driver, State: t.State, Step: t.Step, Since: t.StepSince,
		KeyReady: held && t.HasKey && t.State == StateActive, KeyRevealed: !t.RevealedAt.IsZero(),
		CanAskKey: held && t.State == StateActive && t.Step == StepNone && !t.HasKey,
		ReadyAt:   t.ReadyAt, SuspendedAt: t.SuspendedAt, RevokedAt: t.RevokedAt,
	}
	if d, ok := s.Drivers[t.Driver]; ok {
		v.Dry = d.Capabilities().Dry
	}
	switch w, busy := waits[t.Step]; {
	case t.WaitingFor != "":
		v.WaitingFor, v.WhoActs = t.WaitingFor, t.WhoActs
	case busy:
		v.WaitingFor, v.WhoActs, v.Usually = w.what, w.who, w.usual
	}
	return v, nil
}
