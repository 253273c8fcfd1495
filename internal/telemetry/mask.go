package telemetry

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"
)

const masked = "[masked]"

// Parts of an attribute's name that give its value away. A name that only
// happens to hold one is masked too: choose another name.
var secretNames = []string{
	"authoriz", "body", "cookie", "credential", "key", "mail", "passw", "payload", "secret", "session", "signature", "token",
}

// What must not stand in any text, whatever the attribute is called: errors of
// libraries quote what they were given.
var secretTexts = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`://[^/\s@]*@`), "://" + masked + "@"},          // user and password of an address
	{regexp.MustCompile(`[\w.+%-]+@(?:[\w-]+\.)+[A-Za-z]{2,}`), masked}, // an e-mail address
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`), "$1 " + masked},
	{ // name=value of forms and connection strings, "name":"value" of JSON
		regexp.MustCompile(`(?i)((?:token|secret|password|signature|api-?key)[\w-]*(?:=|"\s*:\s*"))[^\s"&]+`), "$1" + masked,
	},
}

// mask is the handler's last look at every attribute.
func mask(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.TimeKey || a.Key == slog.SourceKey) {
		return a
	}
	if isSecretName(a.Key) || slices.ContainsFunc(groups, isSecretName) {
		return slog.String(a.Key, masked)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, maskText(a.Value.String()))
	case slog.KindAny:
		return slog.String(a.Key, maskAny(a.Value.Any()))
	}
	return a
}

// maskAny prints only what has chosen how it is printed, and plain numbers and
// words. A struct, map or request could hold anything: its type must do.
func maskAny(v any) string {
	switch v := v.(type) {
	case nil:
		return "<nil>"
	case error:
		return maskText(v.Error())
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case fmt.Stringer:
		return maskText(v.String())
	case []string:
		return maskText(strings.Join(v, " "))
	}
	return fmt.Sprintf("[%T not logged]", v)
}

func maskText(s string) string {
	if !strings.ContainsAny(s, "@ =:") {
		return s // an id or a word: most values
	}
	for _, t := range secretTexts {
		s = t.pattern.ReplaceAllString(s, t.instead)
	}
	return s
}

func isSecretName(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secretNames, func(part string) bool { return strings.Contains(name, part) })
}
