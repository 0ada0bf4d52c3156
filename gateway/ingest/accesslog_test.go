package ingest

import (
	"reflect"
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// An access log that Envoy would refuse is written in the usual format, text or
// JSON as asked for; where it goes is as it says.
func TestRefusedLogFormat(t *testing.T) {
	const bad = "%NO_SUCH%"
	text := func(format string) *v1beta1.FleetAccessLog {
		return &v1beta1.FleetAccessLog{Format: v1beta1.AccessLogText, Text: format, Path: "/dev/stderr"}
	}
	json := func(fields map[string]string) *v1beta1.FleetAccessLog {
		return &v1beta1.FleetAccessLog{Format: v1beta1.AccessLogJSON, JSON: fields}
	}
	mixed := map[string]string{"fine": "%PROTOCOL%", "value": bad}
	for _, c := range []struct {
		log  *v1beta1.FleetAccessLog
		want *ir.AccessLog
	}{
		{nil, nil},
		{text("a %PROTOCOL%"), &ir.AccessLog{Text: "a %PROTOCOL%", Path: "/dev/stderr"}},
		{text(bad), &ir.AccessLog{Path: "/dev/stderr"}},
		{json(map[string]string{"fine": "%PROTOCOL%"}), &ir.AccessLog{JSON: map[string]string{"fine": "%PROTOCOL%"}, Path: stdout}},
		{json(mixed), &ir.AccessLog{JSON: usualFields, Path: stdout}},
		{json(nil), &ir.AccessLog{JSON: usualFields, Path: stdout}},
	} {
		f := &v1beta1.EnvoyFleet{Spec: v1beta1.EnvoyFleetSpec{AccessLog: c.log}}
		if got := accessLog(f); !reflect.DeepEqual(got, c.want) {
			t.Errorf("for %+v the log is %+v, want %+v", c.log, got, c.want)
		}
	}
}

// The message names what is wrong.
func TestRefusedLogFormatIsNamed(t *testing.T) {
	for _, c := range []struct {
		log  v1beta1.FleetAccessLog
		want string
	}{
		{v1beta1.FleetAccessLog{Text: "%PROTOCOL% %NO_SUCH(x)%"}, `spec.accessLog.text: "%NO_SUCH(x)%": there is no such command operator`},
		{v1beta1.FleetAccessLog{Text: "100% %PROTOCOL%"}, `spec.accessLog.text: "% %PROTOCOL%" does not begin with a command operator, such as %PROTOCOL%; %% stands for a percent sign`},
		{v1beta1.FleetAccessLog{Text: "%PROTOCOL(x)%"}, `spec.accessLog.text: "%PROTOCOL(x)%": PROTOCOL takes no argument`},
		{v1beta1.FleetAccessLog{Text: "%GRPC_STATUS(x)%"}, `spec.accessLog.text: "%GRPC_STATUS(x)%": "x" is not one of CAMEL_STRING, SNAKE_STRING, NUMBER`},
		{
			v1beta1.FleetAccessLog{Format: v1beta1.AccessLogJSON, JSON: map[string]string{"c": "%C%", "b": "%REQ%", "a": "%PROTOCOL%"}},
			`spec.accessLog.json["b"]: "%REQ%": REQ needs an argument`,
		},
		{v1beta1.FleetAccessLog{Text: "%CEL(request.nosuch.all(x, x))%"}, `spec.accessLog.text: "%CEL(request.nosuch.all(x, x))%": it is not a CEL expression that can be used here: Envoy has no function all for it`},
	} {
		err := CheckAccessLog(&c.log)
		if err == nil || err.Error() != c.want {
			t.Errorf("%+v is refused with\n\t%v\nwant\n\t%s", c.log, err, c.want)
		}
	}
}
