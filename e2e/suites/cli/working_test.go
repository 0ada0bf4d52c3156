//go:build e2e

package cli

import (
	"bufio"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// A cluster that works is said to, from the address to the pod.
func TestWorking(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, cluster.Echo("Deployment", "echo")+service("web", "echo", "")+site("web"))
	svc := s.announced(t, ns, "web")
	s.Programmed(t, ns, "web")
	ip := cluster.Addresses(svc)[0]

	var owner string
	cluster.Eventually(t, "a node is said to answer", func(ctx context.Context) error {
		var all v1beta1.ServiceL2StatusList
		if err := s.List(ctx, &all, client.InNamespace(cluster.System)); err != nil {
			return err
		}
		for _, st := range all.Items {
			if st.Status.ServiceNamespace == ns && st.Status.ServiceName == "web" {
				owner = st.Status.Node
				return nil
			}
		}
		return context.DeadlineExceeded
	})

	s.eventually(t, 0, []string{"everything is as it should be"}, "check")
	s.eventually(t, 0, []string{ip, owner, "layer2"}, "status", "--all")
	s.eventually(t, 0, []string{
		ip + " from pool default", owner + " answers for " + ip, owner + " answers ARP and NDP on ", "L2Advertisement default",
		"1 of 1 ready", "pod echo-", "the chain holds",
	}, "explain", "svc", ns+"/web")
	s.porchlight(t, 0, []string{"IPAddressPool default has it", "Service " + ns + "/web", "the chain holds"}, "explain", "ip", ip)
	s.porchlight(t, 0, []string{"Service " + ns + "/web " + ip}, "explain", "pool", "default")
	s.eventually(t, 0, []string{"http on port 80, HTTP; attached routes: 1", "HTTPRoute " + ns + "/site", "the chain holds"}, "explain", "gateway", ns+"/web")
	s.porchlight(t, 0, []string{"pod echo-", "Envoy route " + ns + "/site/0/*", "the chain holds"}, "explain", "httproute", ns+"/site")
	s.porchlight(t, 0, []string{ns + "/web"}, "__complete", "explain", "svc", "")

	type report struct {
		Services []struct {
			Namespace, Name string
			Addresses       []string
			Announcements   []struct{ Node, Protocol string }
		}
	}
	for _, each := range parse[report](t, s.porchlight(t, 0, nil, "status", "-o", "json")).Services {
		if each.Namespace == ns && each.Name == "web" && (len(each.Announcements) == 0 || each.Announcements[0].Node != owner ||
			each.Announcements[0].Protocol != "layer2" || !slices.Equal(each.Addresses, cluster.Addresses(svc))) {
			t.Errorf("status says %+v; want %s at %s", each, ip, owner)
		}
	}
}

// As a plugin of kubectl it is the same command.
func TestPlugin(t *testing.T) {
	s := forTest(t)
	kubectl, err := s.Lab.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"kubectl", "porchlight", "status"}, {"kubectl_complete-porchlight", "explain", "pool", ""}} {
		path := "PATH=" + bin + ":" + filepath.Dir(kubectl)
		cmd, err := s.Lab.Exec(t.Context(), lab.HostControlPlane, append([]string{"env", path, "KUBECONFIG=" + s.Lab.Kubeconfig()}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		r, err := run(cmd)
		if err != nil || r.code != 0 || !strings.Contains(r.stdout, "default") {
			t.Errorf("%s: %v, %v", strings.Join(args, " "), err, r)
		}
	}
}

// status -w shows what changes, while it is watched.
func TestWatch(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	cmd, err := s.command(ctx, "status", "-w", "--all")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // killed
	}()
	lines := bufio.NewScanner(out)
	until := func(what string, ok func(string) bool) {
		t.Helper()
		for lines.Scan() {
			if ok(lines.Text()) {
				return
			}
		}
		t.Fatalf("status -w ended before it showed %s: %v", what, lines.Err())
	}
	until("the fleets, which are last", func(line string) bool { return strings.Contains(line, "porchlight-envoy") })
	s.Apply(t, ns, cluster.Echo("Deployment", "echo")+service("late", "echo", ""))
	until("the new Service", func(line string) bool {
		return strings.Contains(line, ns) && strings.Contains(line, "late") && strings.HasSuffix(line, "ok")
	})
}

// logs shows what the programs say, of one node and of all.
func TestLogs(t *testing.T) {
	s := forTest(t)
	r := s.porchlight(t, 0, []string{"speaker/node1 "}, "logs", "speaker", "--node", "node1", "--tail", "5")
	if strings.Contains(r.stdout, "node2 ") && strings.Contains(r.stdout, "speaker/node2") {
		t.Errorf("logs of node1 have lines of node2:\n%s", r.stdout)
	}
	s.porchlight(t, 0, []string{"controller/", "speaker/node1", "speaker/node2", "gateway/"}, "logs", "--tail", "3")
	s.porchlight(t, 0, []string{`"level":`}, "logs", "controller", "-o", "raw", "--tail", "3")
	s.porchlight(t, 0, []string{"envoy/"}, "logs", "envoy", "--tail", "3")
	if r := s.porchlight(t, 1, nil, "logs", "--node", "nowhere"); !strings.Contains(r.stderr, "on node nowhere") {
		t.Errorf("logs of a node that does not exist: %v", r)
	}
}

// What is planned is what happens.
func TestPlanIsWhatHappens(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	ask := "porchlight.dev/address-pool: planned"
	s.Apply(t, ns, pool("planned", "10.91.0.0/30")+service("one", "none", ask)+service("two", "none", ask))
	for _, name := range []string{"one", "two"} {
		s.says(t, ns, name, "Allocated", metav1.ConditionTrue, "Allocated")
	}
	smaller := pool("planned", "10.91.0.1/32") + strings.ReplaceAll(service("three", "none", ask), "{name: three,", "{name: three, namespace: "+ns+",")
	type plan struct {
		Services []struct {
			Namespace, Name, Effect, Reason string
			After                           []string
		}
	}
	planned := parse[plan](t, s.porchlight(t, 2, nil, "allocate", "-f", write(t, smaller), "-o", "json", "--all"))
	if svc := s.says(t, ns, "one", "Allocated", metav1.ConditionTrue, "Allocated"); cluster.Addresses(svc)[0] != "10.91.0.0" {
		t.Errorf("planning changed what service one has: %v", cluster.Addresses(svc))
	}
	s.Apply(t, ns, smaller)
	n := 0
	for _, p := range planned.Services {
		if p.Namespace != ns {
			if p.Effect != "keeps" && p.Effect != "waits" {
				t.Errorf("the plan touches %+v", p)
			}
			continue
		}
		n++
		status := metav1.ConditionFalse
		if p.Reason == "Allocated" {
			status = metav1.ConditionTrue
		}
		s.Service(t, ns, p.Name, "as planned", func(svc *corev1.Service) bool {
			return cluster.Condition(svc.Status.Conditions, "porchlight.dev/Allocated", status, p.Reason) &&
				slices.Equal(cluster.Addresses(svc), p.After)
		})
	}
	if n != 3 {
		t.Errorf("the plan has %d of the 3 Services of the test", n)
	}
}

// What is translated offline is what the gateway says in the cluster.
func TestTranslationIsWhatHappens(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	manifests := service("web", "echo", "") + site("missing")
	s.Apply(t, ns, manifests)
	var offline struct {
		Status gatewayv1.RouteStatus
	}
	placed := strings.ReplaceAll(manifests, "{name: ", "{namespace: "+ns+", name: ")
	placed = strings.ReplaceAll(placed, "parentRefs: [{namespace: "+ns+", ", "parentRefs: [{")
	placed = strings.ReplaceAll(placed, "listeners: [{namespace: "+ns+", ", "listeners: [{")
	placed = strings.ReplaceAll(placed, "backendRefs: [{namespace: "+ns+", ", "backendRefs: [{")
	placed = strings.ReplaceAll(placed, "ports: [{namespace: "+ns+", ", "ports: [{")
	r := s.porchlight(t, 2, []string{"kind: HTTPRoute"}, "translate", "-f", write(t, placed), "-o", "status")
	for document := range strings.SplitSeq(r.stdout, "---\n") {
		if strings.HasPrefix(document, "kind: HTTPRoute\n") {
			if err := yaml.Unmarshal([]byte(document), &offline); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(offline.Status.Parents) != 1 {
		t.Fatalf("translated offline: %v", r)
	}
	route := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "site"}}
	if err := s.Await(t.Context(), route, &gatewayv1.HTTPRouteList{}, func() bool {
		if len(route.Status.Parents) != 1 || len(route.Status.Parents[0].Conditions) != len(offline.Status.Parents[0].Conditions) {
			return false
		}
		return !slices.ContainsFunc(offline.Status.Parents[0].Conditions, func(c metav1.Condition) bool {
			return !cluster.Condition(route.Status.Parents[0].Conditions, c.Type, c.Status, c.Reason)
		})
	}); err != nil {
		t.Errorf("want the route as translated offline, %+v: %v", offline.Status.Parents[0].Conditions, err)
	}
}
