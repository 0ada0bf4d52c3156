package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// stdout is where an access log goes that names no file.
const stdout = "/dev/stdout"

// usualFields are those of a JSON access log that names none.
var usualFields = map[string]string{
	"start_time":            "%START_TIME%",
	"method":                "%REQ(:METHOD)%",
	"authority":             "%REQ(:AUTHORITY)%",
	"path":                  "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
	"protocol":              "%PROTOCOL%",
	"response_code":         "%RESPONSE_CODE%",
	"response_code_details": "%RESPONSE_CODE_DETAILS%",
	"response_flags":        "%RESPONSE_FLAGS%",
	"bytes_received":        "%BYTES_RECEIVED%",
	"bytes_sent":            "%BYTES_SENT%",
	"duration":              "%DURATION%",
	"client_address":        "%DOWNSTREAM_REMOTE_ADDRESS%",
	"x_forwarded_for":       "%REQ(X-FORWARDED-FOR)%",
	"user_agent":            "%REQ(USER-AGENT)%",
	"request_id":            "%REQ(X-REQUEST-ID)%",
	"route":                 "%ROUTE_NAME%",
	"upstream_cluster":      "%UPSTREAM_CLUSTER%",
	"upstream_host":         "%UPSTREAM_HOST%",
	"upstream_failure":      "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	"server_name":           "%REQUESTED_SERVER_NAME%",
}

// CheckAccessLog refuses what Envoy would refuse every listener for: a format
// with a command operator that Envoy does not know, or not as it is there.
func CheckAccessLog(l *v1beta1.FleetAccessLog) error {
	switch {
	case l == nil:
		return nil
	case l.Format != v1beta1.AccessLogJSON:
		if err := checkLogFormat(l.Text); err != nil {
			return fmt.Errorf("spec.accessLog.text: %w", err)
		}
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(l.JSON)) {
		if err := checkLogFormat(l.JSON[field]); err != nil {
			return fmt.Errorf("spec.accessLog.json[%.100q]: %w", field, err)
		}
	}
	return nil
}

// logFormat is the form of the lines of an access log, as in ir.AccessLog.
type logFormat struct {
	text string
	json map[string]string
}

// setLogFormat takes the format of an EnvoyFleet that is new or has changed, and
// keeps the one before where Envoy would refuse it.
func (x *index) setLogFormat(n types.NamespacedName, f *v1beta1.EnvoyFleet, there bool) {
	l := f.Spec.AccessLog
	if !there || l == nil {
		delete(x.logFormats, n)
		return
	}
	format := logFormat{text: l.Text}
	if l.Format == v1beta1.AccessLogJSON {
		format = logFormat{json: maps.Clone(l.JSON)}
		if len(format.json) == 0 {
			format.json = maps.Clone(usualFields)
		}
	}
	if CheckAccessLog(l) != nil {
		if _, kept := x.logFormats[n]; kept {
			return
		}
		if format.text = ""; l.Format == v1beta1.AccessLogJSON {
			format.json = maps.Clone(usualFields)
		}
	}
	x.logFormats[n] = format
}

// accessLog is what the EnvoyFleet of this name wants written; nil: nothing.
func (x *index) accessLog(n types.NamespacedName) *ir.AccessLog {
	f := x.fleet(n)
	if f == nil || f.Spec.AccessLog == nil {
		return nil
	}
	format := x.logFormats[n]
	return &ir.AccessLog{Path: cmp.Or(f.Spec.AccessLog.Path, stdout), Text: format.text, JSON: format.json}
}
