package embedded

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"
)

type userBody struct {
	ID                 string    `json:"id"`
	DisplayName        string    `json:"displayName"`
	LoginName          string    `json:"loginName"`
	TailnetID          string    `json:"tailnetId"`
	Created            time.Time `json:"created"`
	Type               string    `json:"type"`
	Role               string    `json:"role"`
	Status             string    `json:"status"`
	DeviceCount        int       `json:"deviceCount"`
	LastSeen           time.Time `json:"lastSeen"`
	CurrentlyConnected bool      `json:"currentlyConnected"`
}

// listUsers lists who is there now; everybody here is a connected member.
func (s *Server) listUsers(w http.ResponseWriter, r *http.Request, c caller) error {
	out := []userBody{}
	q := r.URL.Query()
	kind, role := q.Get("type"), q.Get("role")
	if (kind == "" || kind == "member" || kind == "all") && (role == "" || role == "member") {
		now := s.Now()
		users, err := s.Store.ListUsers(r.Context(), c.tailnet.ID, now)
		if err != nil {
			return err
		}
		nodes, err := s.Store.ListNodes(r.Context(), c.tailnet.ID, now)
		if err != nil {
			return err
		}
		devices := map[string]int{}
		for _, n := range nodes {
			if len(n.Tags) == 0 { // a tag takes the place of the owner
				devices[n.LoginName]++
			}
		}
		for _, u := range users {
			out = append(out, userBody{
				ID: u.ID, DisplayName: u.ID, LoginName: u.LoginName, TailnetID: c.tailnet.ID, Created: u.CreatedAt, Type: "member",
				Role: "member", Status: "active", DeviceCount: devices[u.LoginName], LastSeen: now, CurrentlyConnected: true,
			})
		}
	}
	return ok(w, map[string]any{"users": out})
}

type deviceBody struct {
	Addresses          []string  `json:"addresses"`
	ID                 string    `json:"id"`
	NodeID             string    `json:"nodeId"`
	User               string    `json:"user"`
	Name               string    `json:"name"`
	Hostname           string    `json:"hostname"`
	OS                 string    `json:"os"`
	Created            time.Time `json:"created"`
	ConnectedToControl bool      `json:"connectedToControl"`
	KeyExpiryDisabled  bool      `json:"keyExpiryDisabled"`
	Authorized         bool      `json:"authorized"`
	IsExternal         bool      `json:"isExternal"`
	IsEphemeral        bool      `json:"isEphemeral"`
	Tags               []string  `json:"tags,omitempty"`

	// With fields=all only.
	AdvertisedRoutes *[]string `json:"advertisedRoutes,omitempty"`
	EnabledRoutes    *[]string `json:"enabledRoutes,omitempty"`
}

func deviceOf(n Node, t Tailnet, all bool) deviceBody {
	b := deviceBody{
		Addresses: []string{}, ID: n.ID, NodeID: n.ID, User: n.LoginName, Name: n.Hostname + "." + t.DNSName, Hostname: n.Hostname, OS: "linux",
		Created: n.CreatedAt, ConnectedToControl: true, KeyExpiryDisabled: len(n.Tags) > 0, Authorized: n.Authorized,
		IsExternal: n.External, IsEphemeral: n.Ephemeral, Tags: n.Tags,
	}
	if all {
		none := []string{} // no traffic, no routes
		b.AdvertisedRoutes, b.EnabledRoutes = &none, &none
	}
	return b
}

// matches is the server's filter: exact on simple fields, membership on lists.
func (b deviceBody) matches(field, value string) (bool, error) {
	switch field {
	case "isEphemeral":
		return strconv.FormatBool(b.IsEphemeral) == value, nil
	case "isExternal":
		return strconv.FormatBool(b.IsExternal) == value, nil
	case "authorized":
		return strconv.FormatBool(b.Authorized) == value, nil
	case "connectedToControl":
		return strconv.FormatBool(b.ConnectedToControl) == value, nil
	case "hostname":
		return b.Hostname == value, nil
	case "user":
		return b.User == value, nil
	case "os":
		return b.OS == value, nil
	case "nodeId":
		return b.NodeID == value, nil
	case "tags":
		return slices.Contains(b.Tags, value), nil
	}
	return false, deny(http.StatusBadRequest, "devices cannot be filtered by %q", field)
}

// fields reads which fields are asked for.
func fields(r *http.Request) (all bool, err error) {
	switch r.URL.Query().Get("fields") {
	case "", "default":
		return false, nil
	case "all":
		return true, nil
	}
	return false, deny(http.StatusBadRequest, "fields must be default or all")
}

func (s *Server) listDevices(w http.ResponseWriter, r *http.Request, c caller) error {
	all, err := fields(r)
	if err != nil {
		return err
	}
	nodes, err := s.Store.ListNodes(r.Context(), c.tailnet.ID, s.Now())
	if err != nil {
		return err
	}
	out := []deviceBody{}
	for _, n := range nodes {
		b := deviceOf(n, c.tailnet, all)
		keep := true
		for field, values := range r.URL.Query() {
			if field == "fields" {
				continue
			}
			for _, v := range values { // all of them hold
				fits, err := b.matches(field, v)
				if err != nil {
					return err
				}
				keep = keep && fits
			}
		}
		if keep {
			out = append(out, b)
		}
	}
	return ok(w, map[string]any{"devices": out})
}

// onDevice guards a call on a device of the caller's tailnet.
func (s *Server) onDevice(scope string, h func(http.ResponseWriter, *http.Request, caller, Node) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := s.authenticate(r)
		if err != nil {
			return err
		}
		if err := c.may(scope); err != nil {
			return err
		}
		n, found, err := s.Store.FindNode(r.Context(), r.PathValue("id"))
		if err != nil {
			return err
		}
		if !found || n.Tailnet != c.tailnet.ID || n.gone(s.Now()) {
			return deny(http.StatusNotFound, "device not found")
		}
		return h(w, r, c, n)
	}
}

func (n Node) gone(now time.Time) bool { return !n.LeftAt.IsZero() && !n.LeftAt.After(now) }

func (s *Server) getDevice(w http.ResponseWriter, r *http.Request, c caller, n Node) error {
	all, err := fields(r)
	if err != nil {
		return err
	}
	return ok(w, deviceOf(n, c.tailnet, all))
}

func (s *Server) deleteDevice(w http.ResponseWriter, r *http.Request, c caller, n Node) error {
	err := s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.EndNode(ctx, c.tailnet.ID, n.ID, s.Now())
		return err
	})
	if err != nil {
		return err
	}
	return ok(w, struct{}{})
}

func (s *Server) authorizeDevice(w http.ResponseWriter, r *http.Request, c caller, n Node) error {
	var in struct {
		Authorized bool `json:"authorized"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	err := s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		_, err := tx.AuthorizeNode(ctx, c.tailnet.ID, n.ID, in.Authorized)
		return err
	})
	if err != nil {
		return err
	}
	return ok(w, struct{}{})
}
