package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Control is how people and nodes come and go, since nothing connects to a control
// plane that carries no traffic. It asks for no credentials and so answers loopback
// only. Every request may be repeated: the first of an id counts.
//
//	POST   /sim/users              {"tailnet", "id", "login_name", "joined_at"}
//	POST   /sim/nodes              {"tailnet", "id", "hostname", "login_name", "tags", "ephemeral", "external", "key", "joined_at"}
//	DELETE /sim/users, /sim/nodes  {"tailnet", "id", "left_at"}
//
// /sim/users/TAILNET/ID and /sim/nodes/TAILNET/ID take the same without tailnet and
// id in the body, by POST, PUT or DELETE. A tailnet is named by its id, its DNS name
// or our own id (tnt_…). Times are RFC 3339 and default to business now; a time
// to come makes the person or node come, or go, then.
//
// A node with a key joins as a machine does: a wrong, expired, spent or revoked key
// is refused with 403, and the node gets the key's tags. Without one the control
// vouches for it; where devices need approval it then waits for it.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	for kind, do := range map[string][2]func(context.Context, Tailnet, visit) (any, error){
		"users": {s.userComes, s.userGoes},
		"nodes": {s.nodeComes, s.nodeGoes},
	} {
		for _, path := range []string{"/sim/" + kind, "/sim/" + kind + "/{tailnet}/{id}"} {
			mux.Handle("POST "+path, s.serve(s.visit(do[0])))
			mux.Handle("PUT "+path, s.serve(s.visit(do[0])))
			mux.Handle("DELETE "+path, s.serve(s.visit(do[1])))
		}
	}
	return onLoopback(mux)
}

// onLoopback refuses callers from elsewhere, and pages in a browser on this
// machine: those send an Origin, or a Host that only looks like loopback.
func onLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _, _ := net.SplitHostPort(r.RemoteAddr)
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		from, to := net.ParseIP(caller), net.ParseIP(strings.Trim(host, "[]"))
		if from == nil || !from.IsLoopback() || host != "localhost" && (to == nil || !to.IsLoopback()) || r.Header.Get("Origin") != "" {
			answer(w, http.StatusForbidden, map[string]string{"message": "the control answers programs on this machine only"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// visit is the body of a control request.
type visit struct {
	Tailnet   string    `json:"tailnet"`
	ID        string    `json:"id"`
	LoginName string    `json:"login_name"`
	Hostname  string    `json:"hostname"`
	Tags      []string  `json:"tags"`
	Ephemeral bool      `json:"ephemeral"`
	External  bool      `json:"external"`
	Key       string    `json:"key"`
	JoinedAt  time.Time `json:"joined_at"`
	LeftAt    time.Time `json:"left_at"`
}

func (s *Server) visit(do func(context.Context, Tailnet, visit) (any, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return deny(http.StatusBadRequest, "the body cannot be read")
		}
		var v visit
		if len(bytes.TrimSpace(raw)) > 0 {
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(&v); err != nil {
				return deny(http.StatusBadRequest, "the body is not the JSON that is expected: %v", err)
			}
		}
		if t := r.PathValue("tailnet"); t != "" {
			v.Tailnet, v.ID = t, r.PathValue("id")
		}
		if v.Tailnet == "" || v.ID == "" {
			return deny(http.StatusBadRequest, "tailnet and id are needed")
		}
		t, found, err := s.Store.FindTailnet(r.Context(), v.Tailnet)
		if err == nil && !found { // our own id: it is the display name, in other letters
			t, found, err = s.Store.FindTailnet(r.Context(), strings.ReplaceAll(v.Tailnet, "_", "-"))
		}
		switch {
		case err != nil:
			return err
		case !found || t.Parent:
			return deny(http.StatusNotFound, "tailnet not found")
		}
		if v.JoinedAt.IsZero() {
			v.JoinedAt = s.Now()
		}
		if v.LeftAt.IsZero() {
			v.LeftAt = s.Now()
		}
		out, err := do(r.Context(), t, v)
		if err != nil {
			return err
		}
		return ok(w, out)
	}
}

// micro is the resolution of what is kept.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func (s *Server) userComes(ctx context.Context, t Tailnet, v visit) (any, error) {
	if v.LoginName == "" {
		v.LoginName = v.ID + "@" + t.DNSName
	}
	var u User
	err := s.Store.EmbeddedTx(ctx, func(ctx context.Context, tx Tx) error {
		var err error
		u, err = tx.AddUser(ctx, User{Tailnet: t.ID, ID: v.ID, LoginName: v.LoginName, CreatedAt: micro(v.JoinedAt)})
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !u.LeftAt.IsZero():
		return nil, deny(http.StatusConflict, "user %s has left; an id is not used twice", v.ID)
	}
	return map[string]any{"id": u.ID, "tailnet": t.ID, "joined_at": u.CreatedAt}, nil
}

func (s *Server) userGoes(ctx context.Context, t Tailnet, v visit) (any, error) {
	u, found, err := s.Store.FindUser(ctx, t.ID, v.ID)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, deny(http.StatusNotFound, "user not found")
	case v.LeftAt.Before(u.CreatedAt):
		return nil, deny(http.StatusBadRequest, "nobody leaves before coming")
	}
	return map[string]any{"id": u.ID, "tailnet": t.ID}, s.Store.EmbeddedTx(ctx, func(ctx context.Context, tx Tx) error {
		_, err := tx.EndUser(ctx, t.ID, v.ID, micro(v.LeftAt))
		return err
	})
}

func (s *Server) nodeComes(ctx context.Context, t Tailnet, v visit) (any, error) {
	n, found, err := s.Store.FindNode(ctx, v.ID)
	switch {
	case err != nil:
		return nil, err
	case found && n.Tailnet != t.ID:
		return nil, deny(http.StatusConflict, "node %s is in another tailnet", v.ID)
	case found && !n.LeftAt.IsZero():
		return nil, deny(http.StatusConflict, "node %s has left; an id is not used twice", v.ID)
	}
	if !found {
		if n, err = s.join(ctx, t, v); err != nil {
			return nil, err
		}
	}
	return map[string]any{
		"id": n.ID, "tailnet": t.ID, "joined_at": n.CreatedAt, "tags": n.Tags, "ephemeral": n.Ephemeral, "authorized": n.Authorized,
	}, nil
}

// join adds a node. The key is spent in the transaction that adds it.
func (s *Server) join(ctx context.Context, t Tailnet, v visit) (Node, error) {
	set, err := settingsOf(t)
	if err != nil {
		return Node{}, err
	}
	n := Node{
		ID: v.ID, Tailnet: t.ID, Hostname: v.Hostname, LoginName: v.LoginName, Tags: v.Tags, Ephemeral: v.Ephemeral, External: v.External,
		Authorized: set["devicesApprovalOn"] != true, CreatedAt: micro(v.JoinedAt),
	}
	if n.Hostname == "" {
		n.Hostname = strings.ToLower(v.ID)
	}
	var k Key
	if v.Key != "" {
		var found bool
		if k, found, err = s.Store.FindKeyBySecret(ctx, hash(v.Key)); err != nil {
			return Node{}, err
		}
		if !found || k.Tailnet != t.ID || k.Kind != KeyAuth {
			return Node{}, deny(http.StatusForbidden, "invalid authkey")
		}
		n.Tags, n.LoginName = k.Tags, ""
		n.Ephemeral = n.Ephemeral || k.Ephemeral
		n.Authorized = n.Authorized || k.Preauthorized
	}
	err = s.Store.EmbeddedTx(ctx, func(ctx context.Context, tx Tx) error {
		if k.ID != "" {
			usable, err := tx.UseKey(ctx, k.ID, n.CreatedAt)
			if err != nil {
				return err
			}
			if !usable {
				return deny(http.StatusForbidden, "invalid authkey: expired, revoked or already used")
			}
		}
		var err error
		n, err = tx.AddNode(ctx, n)
		return err
	})
	return n, err
}

func (s *Server) nodeGoes(ctx context.Context, t Tailnet, v visit) (any, error) {
	n, found, err := s.Store.FindNode(ctx, v.ID)
	switch {
	case err != nil:
		return nil, err
	case !found || n.Tailnet != t.ID:
		return nil, deny(http.StatusNotFound, "node not found")
	case v.LeftAt.Before(n.CreatedAt):
		return nil, deny(http.StatusBadRequest, "nothing leaves before coming")
	}
	return map[string]any{"id": n.ID, "tailnet": t.ID}, s.Store.EmbeddedTx(ctx, func(ctx context.Context, tx Tx) error {
		_, err := tx.EndNode(ctx, t.ID, v.ID, micro(v.LeftAt))
		return err
	})
}
