package xds_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Envoy refuses every listener with an access log that it does not understand,
// so what is refused is what it refuses.

// asked is an access log as people ask for it, and as Envoys are given it.
type asked struct {
	spec v1beta1.FleetAccessLog
	ir   ir.AccessLog
}

func text(format string) asked {
	return asked{v1beta1.FleetAccessLog{Format: v1beta1.AccessLogText, Text: format}, ir.AccessLog{Path: "/dev/null", Text: format}}
}

func field(format string) asked {
	fields := map[string]string{"first": "%PROTOCOL%", "a %NO_SUCH% key": format}
	return asked{v1beta1.FleetAccessLog{Format: v1beta1.AccessLogJSON, JSON: fields}, ir.AccessLog{Path: "/dev/null", JSON: fields}}
}

// rejected is what Envoy writes about a listener.
var rejected = regexp.MustCompile(`lds: listener 'log/l(\d+)/80' config rejected: (.*)`)

// refusals starts one Envoy with a listener for each log, and returns what it
// refuses: a message by the index of the log.
func refusals(t *testing.T, logs []ir.AccessLog) map[int]string {
	t.Helper()
	fleet := &ir.Fleet{}
	for i := range logs {
		fleet.Listeners = append(fleet.Listeners, &ir.Listener{
			Gateway: types.NamespacedName{Namespace: "log", Name: fmt.Sprintf("l%d", i)}, Port: 80, FleetPort: int32(1024 + i), Protocol: ir.TCP,
			AccessLog: &logs[i], Chains: []ir.Chain{{Name: fmt.Sprint(i), Stream: &ir.Stream{}}},
		})
	}
	var list []json.RawMessage
	for _, r := range xds.Fleet(fleet) {
		if r.Type != resource.Listener {
			continue
		}
		l := unpack(t, r.Body(), &listenerv3.Listener{})
		l.BindToPort = wrapperspb.Bool(false)
		b, err := protojson.Marshal(repack(t, l))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	if len(list) != len(logs) {
		t.Fatalf("there are %d listeners, want %d", len(list), len(logs))
	}
	dir := t.TempDir()
	listeners, bootstrap := filepath.Join(dir, "listeners.json"), filepath.Join(dir, "bootstrap.json")
	for file, content := range map[string]any{
		listeners: map[string]any{"resources": list},
		bootstrap: map[string]any{
			"node":              map[string]any{"id": "n", "cluster": "c"},
			"dynamic_resources": map[string]any{"lds_config": map[string]any{"resource_api_version": "V3", "path_config_source": map[string]any{"path": listeners}}},
		},
	} {
		b, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(envoybin.Path(t), "--config-path", bootstrap, "--concurrency", "1", "--disable-hot-restart",
		"--log-level", "warning", "--component-log-level", "main:info")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // where it has not ended by itself
		_ = cmd.Wait()
	}()
	out, tail := map[int]string{}, ""
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("Envoy has ended before all listeners were there: %v\n%s", err, tail)
		}
		if m := rejected.FindStringSubmatch(line); m != nil {
			i, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			out[i] = m[2]
		}
		if strings.Contains(line, "starting main dispatch loop") {
			return out
		}
		tail = (tail + line)[max(0, len(tail+line)-4096):]
	}
}

// formats reads the table, by section.
func formats(t *testing.T) map[string][]string {
	b, err := os.ReadFile("testdata/logformats.txt")
	if err != nil {
		t.Fatal(err)
	}
	out, section := map[string][]string{}, ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			section = name
		} else if !strings.HasPrefix(line, "#") {
			out[section] = append(out[section], line)
		}
	}
	return out
}

func TestLogFormatsAreRefusedAsByEnvoy(t *testing.T) {
	table := formats(t)
	var all []asked
	add := func(formats ...string) {
		for _, f := range formats {
			all = append(all, text(f), field(f))
		}
	}
	add(table["same"]...)
	for _, o := range ingest.LogOperators() {
		for _, rest := range []string{"", "()", ":5", "():5", "(x)", "(x):5", "(16)", "(a:b)", "(a:b:c)", "(a?b)", "(a b)"} {
			if o != "COALESCE" || !strings.Contains(rest, "16") {
				add("%" + o + rest + "%")
			}
		}
		add("%"+strings.ToLower(o)+"%", "%"+o, "%"+o+"X%", "%X"+o+"%")
	}
	add("a\nb%PROTOCOL%", "%REQ(x\ty)%", "%REQ(x\ny)%", "%REQ(x\x00y)%", "%REQ(x\x7fy)%", "%START_TIME(a\nb)%", "%START_TIME(a\x00b)%", "%PROTOCOL%\x00")
	equal := len(all)
	add(table["stricter"]...)
	var logs []ir.AccessLog
	for _, a := range all {
		logs = append(logs, a.ir)
	}
	refused := refusals(t, logs)
	for i, a := range all {
		err := ingest.CheckAccessLog(&a.spec)
		message, byEnvoy := refused[i]
		switch {
		case i >= equal && (err == nil || byEnvoy):
			t.Errorf("%q is refused with %v, by Envoy: %v; want it refused here alone", a.spec, err, byEnvoy)
		case i < equal && (err != nil) != byEnvoy:
			t.Errorf("%q is refused with %v, by Envoy: %v (%s)", a.spec, err, byEnvoy, message)
		}
	}
	for _, f := range table["ends"] {
		if a := text(f); ingest.CheckAccessLog(&a.spec) == nil {
			t.Errorf("%s is not refused", f)
		}
	}
	t.Logf("%d formats, %d of them refused", len(all), len(refused))
}

// pieces of what is put together at random. In those of CEL, X is another piece.
var (
	logPieces = strings.Split("%|%%|(|)|:|?|5|x|X|y:z|DYNAMIC|PLAIN|NUMBER|WQ|%n|%s|REQ|PROTOCOL|START_TIME|FILTER_STATE|PATH|METADATA|QUERY_PARAM|COMMON_DURATION|CEL| |:path|)%|):5%", "|")
	celPieces = []string{
		"x", "request.path", "1", "2.5", "3u", "'a'", `"b"`, `'\\d+'`, "true", "null", "X.y", "X[X]", "(X)", "[X, X]", "{X: X}", "[]", "{}", "!X", "-X",
		"X + X", "X - X", "X*X", "X / X", "X % X", "X == X", "X<X", "X >= X", "X in X", "X && X", "X||X", "X ? X : X", "has(x.y.z)", "has(X.y)",
		"size(X)", "X.size()", "X.contains(X)", "X.matches('a|b')", "X.matches(X)", "matches(X, '[a-c]+(d|e)*f{2,5}$')", "int(X)", "type(X)",
		"X.getHours()", "X.getHours(X)", "timestamp(X)", "true.x", "null.y", "'a'.z", "[X].y", "(X).z", "as", "x.as",
	}
	celRegexes = []string{"a", ".", "[a-z]", "\\\\d", "(ab|c)", "(?i)d", "é", "^", "$", "\\\\pN", "(?:e)"}
)

func celExpression(r *rand.Rand, depth int) string {
	piece := celPieces[r.IntN(len(celPieces))]
	if r.IntN(20) == 0 {
		var pattern strings.Builder
		for range 1 + r.IntN(8) {
			pattern.WriteString(celRegexes[r.IntN(len(celRegexes))] + []string{"", "", "*", "+?", "{3}", "{0,9}", "{2,}"}[r.IntN(7)])
		}
		piece = "X.matches('" + pattern.String() + "')"
	}
	for strings.Contains(piece, "X") {
		inner := "x"
		if depth > 0 {
			inner = celExpression(r, depth-1)
		}
		piece = strings.Replace(piece, "X", inner, 1)
	}
	return piece
}

// Nothing that is put together at random is taken here that Envoy refuses.
func TestEnvoyAcceptsLogFormats(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 0))
	var taken []ir.AccessLog
	total := 0
	try := func(format string) {
		total++
		if a := text(format); ingest.CheckAccessLog(&a.spec) == nil {
			taken = append(taken, a.ir)
		}
	}
	for range 10000 {
		var format strings.Builder
		for range 1 + r.IntN(9) {
			format.WriteString(logPieces[r.IntN(len(logPieces))])
		}
		try(format.String())
	}
	for range 3000 {
		try("%CEL(" + celExpression(r, 3) + ")%")
	}
	for i, message := range refusals(t, taken) {
		t.Errorf("%q is taken, and refused by Envoy: %s", taken[i].Text, message)
	}
	if len(taken) < 1000 {
		t.Errorf("of %d formats %d are taken: too few to tell much", total, len(taken))
	}
	t.Logf("of %d formats %d are taken", total, len(taken))
}
