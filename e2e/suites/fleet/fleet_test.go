//go:build e2e

// Package fleet shows the Envoys themselves: that each field of an EnvoyFleet
// is honoured, and that no request fails while Envoys, gateways and
// certificates come and go.
package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// group is the label with the name of a group of Envoys.
const group = "porchlight.dev/fleet"

// site is a Gateway of a class, and a route to a backend of its own.
func site(name, class, infrastructure string) string {
	return cluster.Echo("Deployment", name) + fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: %[1]s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  gatewayClassName: %[2]s
  infrastructure: %[3]s
  listeners:
  - {name: http, protocol: HTTP, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: %[1]s}]
  rules: [{backendRefs: [{name: %[1]s, port: 80}]}]
---
`, name, class, infrastructure)
}

// served waits until the Gateway's site answers, and returns its URL.
func served(t *testing.T, c *cluster.Cluster, ns, name string) string {
	t.Helper()
	url := "http://" + c.Programmed(t, ns, name) + "/"
	c.Want(t, 200, cluster.Request{URL: url})
	return url
}

// envoys are the pods of a group that do not end.
func envoys(ctx context.Context, c *cluster.Cluster, name string) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(cluster.System), client.MatchingLabels{group: name}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// ready waits until so many Envoys are ready and counted so.
func ready(t *testing.T, c *cluster.Cluster, name string, envoys int32) {
	t.Helper()
	f := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: name}}
	if err := c.Await(t.Context(), f, &v1beta1.EnvoyFleetList{}, func() bool {
		return f.Status.Replicas == envoys && f.Status.ReadyReplicas == envoys &&
			cluster.Condition(f.Status.Conditions, "Ready", metav1.ConditionTrue, "Ready")
	}); err != nil {
		t.Fatalf("fleet %s: want %d Envoys ready: %v", name, envoys, err)
	}
}

// gone waits until nothing carries the name of the group any more.
func gone(t *testing.T, c *cluster.Cluster, names ...string) {
	t.Helper()
	for _, name := range names {
		cluster.Eventually(t, "nothing of fleet "+name+" is left", func(ctx context.Context) error {
			out, err := c.Kubectl("get", "deploy,daemonset,hpa,pdb,configmap,pods,secrets", "-n", cluster.System, "-o", "name")
			if err == nil && strings.Contains(out, "/"+name) {
				err = fmt.Errorf("there is %s", out)
			}
			return err
		})
	}
}

// kubectl runs kubectl, which must succeed.
func kubectl(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each Gateway of a dedicated fleet has Envoys of its own, with what its author
// asks for on them, and takes them along when it goes.
func TestDedicated(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, cluster.Fleet("apart", "{mode: Dedicated, replicas: 1}")+
		site("one", "apart", "{labels: {team: a}, annotations: {example.com/note: b}}")+site("two", "apart", "{}"))
	first, second := served(t, c, ns, "one"), served(t, c, ns, "two")
	if first == second {
		t.Fatalf("both Gateways are at %s", first)
	}
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(cluster.System), client.MatchingLabels{"team": "a"}); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 1 || pods.Items[0].Annotations["example.com/note"] != "b" || pods.Items[0].Labels["gateway.networking.k8s.io/gateway-name"] != "one" {
		t.Errorf("%d pods have the labels of the Gateway", len(pods.Items))
	}
	ready(t, c, "apart", 2)
	own := pods.Items[0].Labels[group]
	if err := c.Delete(t.Context(), &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "one"}}); err != nil {
		t.Fatal(err)
	}
	gone(t, c, own)
	ready(t, c, "apart", 1)
	c.Want(t, 200, cluster.Request{URL: second})
}

// What an EnvoyFleet says about its pods is what the pods are.
func TestDaemonSet(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, cluster.Fleet("everywhere", "{kind: DaemonSet, accessLog: {format: JSON, json: {path: '%REQ(:PATH)%', code: '%RESPONSE_CODE%'}}}")+
		site("web", "everywhere", "{}"))
	url := served(t, c, ns, "web")
	ready(t, c, "everywhere", 3)
	c.Want(t, 200, cluster.Request{URL: url + "logged"})
	cluster.Eventually(t, "the request is in an access log", func(context.Context) error {
		out, err := c.Kubectl("logs", "-n", cluster.System, "-l", group+"=everywhere", "-c", "envoy", "--tail=-1")
		if err == nil && !strings.Contains(out, `{"code":200,"path":"/logged"}`) {
			err = fmt.Errorf("the log is\n%s", out)
		}
		return err
	})
}

// A fleet that scales by itself is scaled within its bounds.
func TestAutoscaling(t *testing.T) {
	c := cluster.ForTest(t)
	c.Apply(t, cluster.System, cluster.Fleet("elastic", "{autoscaling: {minReplicas: 1, maxReplicas: 3, cpuUtilization: 80}, resources: {requests: {cpu: 10m}}}"))
	ready(t, c, "elastic", 1)
	kubectl(t, c, "scale", "-n", cluster.System, "deployment/elastic", "--replicas=3")
	ready(t, c, "elastic", 3)
	if out := kubectl(t, c, "get", "hpa", "-n", cluster.System, "elastic", "-o", "jsonpath={.spec.minReplicas} {.spec.maxReplicas}"); out != "1 3" {
		t.Errorf("the autoscaler has the bounds %s", out)
	}
}

// The mode of a fleet is for its life.
func TestModeStays(t *testing.T) {
	c := cluster.ForTest(t)
	c.Apply(t, cluster.System, cluster.Fleet("fixed", "{replicas: 0}"))
	refusal := c.Refused(t, cluster.System, cluster.Fleet("fixed", "{replicas: 0, mode: Dedicated}"))
	if !strings.Contains(refusal, "mode cannot be changed") {
		t.Errorf("refused with %s", refusal)
	}
}

// From the pod's network nothing but whether an Envoy is ready, and its
// statistics, is to be had.
func TestAdministrationIsLocal(t *testing.T) {
	c := cluster.ForTest(t)
	ready(t, c, "porchlight-envoy", 2)
	pods, err := envoys(t.Context(), c, "porchlight-envoy")
	if err != nil {
		t.Fatal(err)
	}
	ip := pods[0].Status.PodIP
	status := func(url string) string {
		out, err := c.On(t.Context(), pods[0].Spec.NodeName, "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url)
		if err != nil && !strings.Contains(err.Error(), "exit status 7") {
			t.Fatal(err)
		}
		return out[:3]
	}
	for url, want := range map[string]string{
		":19000/ready":              "000",
		":19001/ready":              "200",
		":19001/stats/prometheus":   "200",
		":19001/config_dump":        "404",
		":19001/healthcheck/fail":   "404",
		":19001/quitquitquit":       "404",
		":19002/drained":            "409",
		":19002/healthcheck/fail":   "404",
		":19001/stats/prometheus?x": "200",
	} {
		if got := status("http://" + ip + url); got != want {
			t.Errorf("%s answers %s, want %s", url, got, want)
		}
	}
}

// A Gateway beside the EnvoyFleets may name one itself; a reference that leads
// nowhere is refused with the Gateway API's reason, and disturbs nothing else.
func TestParametersOfAGateway(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, cluster.System, cluster.Fleet("special", "{replicas: 1}")+
		site("own", "porchlight", "{parametersRef: {group: porchlight.dev, kind: EnvoyFleet, name: special}}")+
		site("nowhere", "porchlight", "{parametersRef: {group: porchlight.dev, kind: EnvoyFleet, name: nowhere}}"))
	c.Apply(t, ns, site("elsewhere", "porchlight", "{parametersRef: {group: porchlight.dev, kind: EnvoyFleet, name: special}}"))
	served(t, c, cluster.System, "own")
	s := c.Service(t, cluster.System, "own-porchlight", "the Envoys of the fleet it names", func(s *corev1.Service) bool { return true })
	if s.Labels[group] != "special" {
		t.Errorf("the Gateway is served by %s", s.Labels[group])
	}
	for _, g := range []*gatewayv1.Gateway{
		{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "nowhere"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "elsewhere"}},
	} {
		if err := c.Await(t.Context(), g, &gatewayv1.GatewayList{}, func() bool {
			return cluster.Condition(g.Status.Conditions, "Accepted", metav1.ConditionFalse, "InvalidParameters")
		}); err != nil {
			t.Errorf("gateway %s: want it refused as InvalidParameters: %v", g.Name, err)
		}
	}
}

// What an EnvoyFleet says of Services is what those of its Gateways are.
func TestServicesAreAsTheFleetSays(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: edge, namespace: porchlight-system}
spec: {addresses: [172.30.0.180/32], autoAssign: false}
---
`+cluster.Fleet("edge", "{replicas: 0, service: {addressPool: edge, labels: {tier: edge}, annotations: {example.com/note: edge}}}")+
		cluster.Fleet("foreign", "{replicas: 0}")+
		site("pooled", "edge", "{}")+site("foreign", "foreign", "{}"))
	c.Service(t, ns, "pooled-porchlight", "the pool's address, the fleet's labels and annotations", func(s *corev1.Service) bool {
		return slices.Equal(cluster.Addresses(s), []string{"172.30.0.180"}) && s.Labels["tier"] == "edge" && s.Annotations["example.com/note"] == "edge"
	})
	// The class of a Service is for its life, so there is another Service.
	for _, class := range []string{"example.com/other", "example.com/another"} {
		c.Apply(t, ns, cluster.Fleet("foreign", "{replicas: 0, service: {loadBalancerClass: "+class+"}}"))
		c.Service(t, ns, "foreign-porchlight", "the class "+class, func(s *corev1.Service) bool {
			return s.Spec.LoadBalancerClass != nil && *s.Spec.LoadBalancerClass == class
		})
	}
}

// An EnvoyFleet that asks for what Kubernetes refuses says what, until it is
// mended; nobody else waits for it.
func TestRefusedWorkload(t *testing.T) {
	c := cluster.ForTest(t)
	c.Apply(t, cluster.System, cluster.Fleet("greedy", "{replicas: 1, resources: {requests: {cpu: 20m}, limits: {cpu: 10m}}}"))
	f := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "greedy"}}
	if err := c.Await(t.Context(), f, &v1beta1.EnvoyFleetList{}, func() bool {
		return cluster.Condition(f.Status.Conditions, "Ready", metav1.ConditionFalse, "EnvoysNotReady") &&
			strings.Contains(f.Status.Conditions[0].Message, "must be less than or equal to cpu limit")
	}); err != nil {
		t.Errorf("fleet greedy: want it said that the API server refuses it: %v", err)
	}
	c.Apply(t, cluster.System, cluster.Fleet("modest", "{replicas: 1}"))
	ready(t, c, "modest", 1)
	c.Apply(t, cluster.System, cluster.Fleet("greedy", "{replicas: 1, resources: {requests: {cpu: 10m}, limits: {cpu: 100m}}}"))
	ready(t, c, "greedy", 1)
}

// Of a fleet one Envoy at a time may be evicted.
func TestOneEnvoyIsEvictedAtATime(t *testing.T) {
	c := cluster.ForTest(t)
	c.Apply(t, cluster.System, cluster.Fleet("guarded", "{replicas: 2, drainTime: 1s}"))
	ready(t, c, "guarded", 2)
	var b policyv1.PodDisruptionBudget
	b.Namespace, b.Name = cluster.System, "guarded"
	if err := c.Await(t.Context(), &b, &policyv1.PodDisruptionBudgetList{}, func() bool { return b.Status.DisruptionsAllowed == 1 }); err != nil {
		t.Fatalf("the disruption budget allows %d: %v", b.Status.DisruptionsAllowed, err)
	}
	pods, err := envoys(t.Context(), c, "guarded")
	if err != nil || len(pods) != 2 {
		t.Fatalf("%d Envoys: %v", len(pods), err)
	}
	evict := func(p *corev1.Pod) error {
		return c.SubResource("eviction").Create(t.Context(), p, &policyv1.Eviction{})
	}
	if err := evict(&pods[0]); err != nil {
		t.Fatal(err)
	}
	if err := evict(&pods[1]); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the eviction of the second, right after: %v", err)
	}
	ended(t, c, "guarded")
	ready(t, c, "guarded", 2)
}
