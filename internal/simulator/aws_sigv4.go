package simulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

var (
	authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$`)
	amzDate       = regexp.MustCompile(`^\d{8}T\d{6}Z$`)
)

// checkSignature checks the shape of a Signature Version 4: algorithm, scope, signed headers. Only when credentials are
// configured is the signature itself computed.
func (m *awsMarket) checkSignature(r *http.Request, body []byte, service string) error {
	deny := func(code, format string, args ...any) error {
		return &awsError{status: http.StatusForbidden, code: code, message: fmt.Sprintf(format, args...)}
	}
	auth := r.Header.Get("Authorization")
	if auth == "" {
		return deny("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	p := authorization.FindStringSubmatch(auth)
	if p == nil {
		return deny("IncompleteSignatureException", "Authorization header is not a Signature Version 4")
	}
	key, day, region, svc, signature := p[1], p[2], p[3], p[4], p[6]
	signed := strings.Split(p[5], ";")
	date := r.Header.Get("X-Amz-Date")
	switch {
	case svc != service:
		return deny("InvalidSignatureException", "Credential should be scoped to correct service: '%s'.", service)
	case region != m.s.o.Region:
		return deny("InvalidSignatureException", "Credential should be scoped to a valid region, not '%s'.", region)
	case !amzDate.MatchString(date) || date[:8] != day:
		return deny("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from X-Amz-Date")
	case !slices.IsSorted(signed) || !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-date"):
		return deny("InvalidSignatureException", "'Host' and 'X-Amz-Date' must be signed headers, in order")
	case r.Header.Get("X-Amz-Target") != "" && !slices.Contains(signed, "x-amz-target"):
		return deny("InvalidSignatureException", "'X-Amz-Target' must be a signed header")
	}
	want := m.s.o.Credentials
	if want.SecretAccessKey == "" {
		return nil
	}
	if key != want.AccessKeyID {
		return deny("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if !hmac.Equal([]byte(signature), []byte(sign(r, body, want.SecretAccessKey, day, region, svc, date, signed))) {
		return deny("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	}
	return nil
}

func sign(r *http.Request, body []byte, secret, day, region, service, date string, signed []string) string {
	var canonical strings.Builder
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
	for _, h := range signed {
		value := strings.Join(r.Header.Values(h), ",")
		switch h {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(len(body))
		}
		fmt.Fprintf(&canonical, "%s:%s\n", h, strings.Join(strings.Fields(value), " "))
	}
	sum := sha256.Sum256(body)
	fmt.Fprintf(&canonical, "\n%s\n%s", strings.Join(signed, ";"), hex.EncodeToString(sum[:]))
	hashed := sha256.Sum256([]byte(canonical.String()))
	scope := day + "/" + region + "/" + service + "/aws4_request"
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	k := mac(mac(mac(mac([]byte("AWS4"+secret), day), region), service), "aws4_request")
	return hex.EncodeToString(mac(k, "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hex.EncodeToString(hashed[:])))
}
