package embedded

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// setting is a field of the settings: what it is at first, and the scope it takes
// to change it.
type setting struct {
	first any
	scope string
}

const features = "feature_settings"

var settings = map[string]setting{
	"aclsExternallyManagedOn": {false, "policy_file"}, "aclsExternalLink": {"", "policy_file"},
	"devicesApprovalOn": {false, features}, "devicesAutoUpdatesOn": {false, features}, "devicesKeyDurationDays": {float64(180), features},
	"usersApprovalOn": {false, features}, "usersRoleAllowedToJoinExternalTailnets": {"admin", features},
	"networkFlowLoggingOn": {false, "logs:network"}, "regionalRoutingOn": {false, features},
	"postureIdentityCollectionOn": {false, features}, "httpsEnabled": {false, "networking_settings"},
}

// settingsOf is what is in force: what was written over what holds at first.
func settingsOf(t Tailnet) (map[string]any, error) {
	out := map[string]any{}
	for name, s := range settings {
		out[name] = s.first
	}
	var written map[string]any
	if err := json.Unmarshal([]byte(t.Settings), &written); err != nil {
		return nil, err
	}
	maps.Copy(out, written)
	return out, nil
}

func (s *Server) getSettings(w http.ResponseWriter, _ *http.Request, c caller) error {
	now, err := settingsOf(c.tailnet)
	if err != nil {
		return err
	}
	return ok(w, now)
}

// patchSettings changes the fields that are named; null leaves one as it is (the
// official client sends it for what it does not set).
func (s *Server) patchSettings(w http.ResponseWriter, r *http.Request, c caller) error {
	var in map[string]any
	if err := decode(r, &in); err != nil {
		return err
	}
	now, err := settingsOf(c.tailnet)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		def, known := settings[name]
		value := in[name]
		if value == nil {
			continue
		}
		if !known {
			return deny(http.StatusBadRequest, "unknown setting %q", name)
		}
		if err := c.may(def.scope); err != nil {
			return err
		}
		if !sameKind(def.first, value) {
			return deny(http.StatusBadRequest, "setting %q has another type", name)
		}
		if days, is := value.(float64); is && (days != float64(int(days)) || days < 1 || days > 180) {
			return deny(http.StatusBadRequest, "devicesKeyDurationDays must be 1 to 180")
		}
		now[name] = value
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	written := false
	err = s.Store.EmbeddedTx(r.Context(), func(ctx context.Context, tx Tx) error {
		var err error
		written, err = tx.SetSettings(ctx, c.tailnet.ID, c.tailnet.Settings, string(text))
		return err
	})
	switch {
	case err != nil:
		return err
	case !written:
		return deny(http.StatusConflict, "the settings were changed meanwhile")
	}
	return ok(w, now)
}

func sameKind(a, b any) bool {
	switch a.(type) {
	case bool:
		_, is := b.(bool)
		return is
	case string:
		_, is := b.(string)
		return is
	case float64:
		_, is := b.(float64)
		return is
	}
	return false
}
