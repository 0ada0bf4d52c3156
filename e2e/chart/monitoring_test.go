package chart

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const (
	rulesFile     = path + "/files/monitoring/alerts.yaml"
	dashboardFile = path + "/files/monitoring/dashboard.json"
	metricsPage   = "../../docs/reference/metrics.md"
)

type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func rules(t *testing.T) (f ruleFile) {
	t.Helper()
	b, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

type listed struct {
	kind   string
	labels []string
}

var metricRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([a-z]+) \\| ([a-z, ]*) \\|")

// metrics are those that the programs have, as their page lists them.
func metrics(t *testing.T) map[string]listed {
	t.Helper()
	b, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]listed{}
	for _, m := range metricRow.FindAllStringSubmatch(string(b), -1) {
		all[m[1]] = listed{m[2], strings.Split(m[3], ", ")}
	}
	if len(all) < 30 {
		t.Fatalf("%s lists %d metrics: is its form another?", metricsPage, len(all))
	}
	return all
}

// ofScraping are the labels that do not come from the programs.
var ofScraping = []string{"__name__", "namespace", "instance", "le"}

// checkExpression says what is wrong with an expression.
func checkExpression(t *testing.T, where, text string, known map[string]listed) {
	t.Helper()
	expr, err := parser.ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, text)
		return
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, ok := known[v.Name]
		if !ok {
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				if h, is := known[strings.TrimSuffix(v.Name, part)]; is && h.kind == "histogram" {
					m, ok = h, true
				}
			}
		}
		if !ok {
			t.Errorf("%s: no program has the metric %s", where, v.Name)
			return nil
		}
		for _, l := range v.LabelMatchers {
			if !slices.Contains(ofScraping, l.Name) && !slices.Contains(m.labels, l.Name) {
				t.Errorf("%s: %s has no label %s, but %v", where, v.Name, l.Name, m.labels)
			}
		}
		return nil
	})
}

// Prometheus reads the file: expressions, durations, labels and templates.
func TestPrometheusReadsTheRules(t *testing.T) {
	_, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation)
	for _, err := range errs {
		t.Error(err)
	}
}

func TestAlertsAskForMetricsThatExist(t *testing.T) {
	known := metrics(t)
	names := map[string]bool{}
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			checkExpression(t, r.Alert, r.Expr, known)
			if names[r.Alert] {
				t.Errorf("%s is there twice", r.Alert)
			}
			names[r.Alert] = true
			if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" {
				t.Errorf("%s: severity %q, summary %q", r.Alert, r.Labels["severity"], r.Annotations["summary"])
			}
		}
	}
	for _, want := range []string{
		"PorchlightPool75PercentUsed", "PorchlightPool85PercentUsed", "PorchlightPool95PercentUsed", "PorchlightPoolExhausted",
		"PorchlightBGPSessionDown", "PorchlightServiceUnannounced", "PorchlightOwnersFlap", "PorchlightWritesStuck", "PorchlightEnvoysStale",
		"PorchlightEnvoyRefusesConfiguration",
	} {
		if !names[want] {
			t.Errorf("there is no alert %s", want)
		}
	}
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	b, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int    `json:"id"`
			Type    string `json:"type"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	known, ids := metrics(t), map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			checkExpression(t, p.Title, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"), known)
		}
	}
}

// What monitoring turns on, and what it is made of.
func TestMonitoring(t *testing.T) {
	on := values{"enabled": true}
	wanted := []string{
		"ConfigMap/porchlight-dashboard", "PrometheusRule/porchlight",
		"ServiceMonitor/porchlight-controller", "ServiceMonitor/porchlight-gateway", "ServiceMonitor/porchlight-speaker",
		"Service/porchlight-controller-metrics", "Service/porchlight-gateway-metrics", "Service/porchlight-speaker-metrics",
	}
	without, _ := render(t, usualName, usualSpace, nil)
	for _, k := range keys(without, everything) {
		if slices.Contains(wanted, k) {
			t.Errorf("%s is there unasked", k)
		}
	}
	with, _ := render(t, usualName, usualSpace, values{"monitoring": values{"serviceMonitor": on, "rules": on, "dashboard": on}})
	got := keys(with, everything)
	for _, k := range wanted {
		if !slices.Contains(got, k) {
			t.Errorf("there is no %s", k)
		}
	}
	for _, u := range with {
		if u.GetKind() != "PrometheusRule" {
			continue
		}
		b, err := json.Marshal(u.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		var spec ruleFile
		if err := json.Unmarshal(b, &spec); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(spec, rules(t)) {
			t.Errorf("the PrometheusRule is not what %s says", rulesFile)
		}
	}
}

// The ports that policies and monitors name are ports of the pods.
func TestPortsThatAreNamed(t *testing.T) {
	objects, _ := render(t, usualName, usualSpace, values{
		"networkPolicy": values{"enabled": true}, "monitoring": values{"serviceMonitor": values{"enabled": true}},
	})
	ports := map[string][]string{}
	for _, u := range objects {
		for _, m := range regexp.MustCompile(`"containerPort":\d+,"name":"([a-z-]+)"`).FindAllStringSubmatch(compact(t, u.Object), -1) {
			part := strings.TrimPrefix(u.GetName(), "porchlight-")
			ports[part] = append(ports[part], m[1])
		}
	}
	policies, monitored := 0, 0
	for _, u := range objects {
		part := strings.TrimSuffix(strings.TrimPrefix(u.GetName(), "porchlight-"), "-metrics")
		named := regexp.MustCompile(`"(?:port|targetPort)":"([a-z-]+)"`).FindAllStringSubmatch(compact(t, u.Object["spec"]), -1)
		switch u.GetKind() {
		case "NetworkPolicy":
			policies++
			if len(named) != len(ports[part]) {
				t.Errorf("the policy of the %s names %d ports; its pods have %v", part, len(named), ports[part])
			}
		case "Service":
			monitored++
		default:
			continue
		}
		for _, m := range named {
			if !slices.Contains(ports[part], m[1]) {
				t.Errorf("%s %s names the port %s; the pods have %v", u.GetKind(), u.GetName(), m[1], ports[part])
			}
		}
	}
	if policies != 2 || monitored != 4 {
		t.Errorf("%d NetworkPolicies, want 2, and %d Services, want 4", policies, monitored)
	}
}

func compact(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// values.yaml has every value that the schema knows, and the schema knows each
// that values.yaml has: no value is undocumented, and none is unchecked.
func TestEveryValueIsDocumentedAndChecked(t *testing.T) {
	var schema, given map[string]any
	for file, to := range map[string]*map[string]any{"values.schema.json": &schema, "values.yaml": &given} {
		b, err := os.ReadFile(path + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(b, to); err != nil {
			t.Fatal(err)
		}
	}
	var compare func(at string, schema, given map[string]any)
	compare = func(at string, schema, given map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if at+name == "global" { // Helm's own
				continue
			}
			value, ok := given[name]
			if !ok {
				t.Errorf("values.yaml does not tell of %s%s", at, name)
				continue
			}
			inside, _ := value.(map[string]any)
			below, _ := properties[name].(map[string]any)
			if len(inside) > 0 && below["additionalProperties"] == false {
				compare(at+name+".", below, inside)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(given)) {
			if _, ok := properties[name]; !ok {
				t.Errorf("values.schema.json does not know %s%s", at, name)
			}
		}
	}
	compare("", schema, given)
}
