package ingest

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// An access log that Envoy would refuse is written in the format before it, or
// else in the usual one; where it goes is as it says.
func TestRefusedLogFormatKeepsTheOneBefore(t *testing.T) {
	n := types.NamespacedName{Namespace: "porchlight-system", Name: "edge"}
	text := func(format string) *v1beta1.FleetAccessLog {
		return &v1beta1.FleetAccessLog{Format: v1beta1.AccessLogText, Text: format, Path: "/dev/stdout"}
	}
	json := func(path, value string) *v1beta1.FleetAccessLog {
		return &v1beta1.FleetAccessLog{Format: v1beta1.AccessLogJSON, JSON: map[string]string{"fine": "%PROTOCOL%", "value": value}, Path: path}
	}
	const bad = "%NO_SUCH%"
	tr := NewTranslator(n.Namespace, "")
	for i, step := range []struct {
		log    *v1beta1.FleetAccessLog
		text   string
		fields int
		path   string
	}{
		{text(bad), "", 0, "/dev/stdout"},
		{json("/dev/stderr", bad), "", 0, "/dev/stderr"},
		{nil, "", 0, ""},
		{json("/dev/stderr", bad), "", len(usualFields), "/dev/stderr"},
		{nil, "", 0, ""},
		{text("a %PROTOCOL%"), "a %PROTOCOL%", 0, "/dev/stdout"},
		{text(bad), "a %PROTOCOL%", 0, "/dev/stdout"},
		{json("/dev/stderr", bad), "a %PROTOCOL%", 0, "/dev/stderr"},
		{json("", "%DURATION%"), "", 2, "/dev/stdout"},
		{text(bad), "", 2, "/dev/stdout"},
		{text(""), "", 0, "/dev/stdout"},
		{&v1beta1.FleetAccessLog{Format: v1beta1.AccessLogJSON}, "", len(usualFields), "/dev/stdout"},
	} {
		f := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}}
		f.Spec.AccessLog = step.log
		tr.Set(f)
		got := tr.x.accessLog(n)
		if step.log == nil {
			if got != nil {
				t.Errorf("step %d: the log is %+v, want none", i, got)
			}
			continue
		}
		if got == nil {
			got = &ir.AccessLog{}
		}
		if got.Text != step.text || len(got.JSON) != step.fields || got.Path != step.path {
			t.Errorf("step %d: the log is %+v, want text %q, %d fields, path %s", i, got, step.text, step.fields, step.path)
		}
	}
	tr.Delete(&v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}})
	if len(tr.x.logFormats) != 0 {
		t.Errorf("of an EnvoyFleet that is no more there is %v", tr.x.logFormats)
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
