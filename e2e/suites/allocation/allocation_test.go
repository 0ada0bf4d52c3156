//go:build e2e

// Package allocation shows that Services of type LoadBalancer get their
// addresses in a real cluster, and that what is refused says so. There is a
// test for each thing that is promised of pools and of allocation; this file
// has what they share.
package allocation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Annotations of a Service, as YAML; service takes several, with commas.
func fromPool(name string) string    { return `"porchlight.dev/address-pool": "` + name + `"` }
func asking(addresses string) string { return `"porchlight.dev/loadBalancerIPs": "` + addresses + `"` }
func sharing(key string) string      { return `"porchlight.dev/allow-shared-ip": "` + key + `"` }

// service is a Service of type LoadBalancer without endpoints; spec is YAML
// of fields of its spec, and may replace those here.
func service(name, annotations string, spec ...string) string {
	fields := []string{"type: LoadBalancer"}
	for _, field := range []string{"ports: [{port: 80}]", "selector: {app: none}"} {
		key, _, _ := strings.Cut(field, " ")
		if !slices.ContainsFunc(spec, func(f string) bool { return strings.HasPrefix(f, key) }) {
			fields = append(fields, field)
		}
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %s, annotations: {%s}}
spec:
  %s
`, name, annotations, strings.Join(append(fields, spec...), "\n  "))
}

// pool is a pool for those who name it; spec is YAML of fields of its spec.
func pool(name, addresses string, spec ...string) string {
	return autoPool(name, addresses, append(spec, "autoAssign: false")...)
}

// autoPool is a pool for everybody; spec is YAML of fields of its spec.
func autoPool(name, addresses string, spec ...string) string {
	return fmt.Sprintf(`---
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: %s, namespace: porchlight-system}
spec:
  %s
`, name, strings.Join(append(spec, "addresses: ["+addresses+"]"), "\n  "))
}

// served waits until the Service has as many addresses.
func served(t *testing.T, c *cluster.Cluster, ns, name string, addresses int) *corev1.Service {
	t.Helper()
	return c.Service(t, ns, name, fmt.Sprintf("%d addresses", addresses), func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == addresses &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Allocated", metav1.ConditionTrue, "Allocated")
	})
}

// has waits until the Service has these addresses, in this order.
func has(t *testing.T, c *cluster.Cluster, ns, name string, addresses ...string) *corev1.Service {
	t.Helper()
	return c.Service(t, ns, name, strings.Join(addresses, ", "), func(s *corev1.Service) bool {
		return slices.Equal(cluster.Addresses(s), addresses) &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Allocated", metav1.ConditionTrue, "Allocated")
	})
}

// address waits until the Service has one address, and returns it.
func address(t *testing.T, c *cluster.Cluster, ns, name string) string {
	t.Helper()
	return served(t, c, ns, name, 1).Status.LoadBalancer.Ingress[0].IP
}

// refused waits until the Service has no address and says why, in words that
// name all that the reason is about.
func refused(t *testing.T, c *cluster.Cluster, ns, name, reason string, says ...string) {
	t.Helper()
	want := fmt.Sprintf("no address, Allocated=False, %s, with a message that names %q", reason, says)
	c.Service(t, ns, name, want, func(s *corev1.Service) bool {
		_, from := s.Annotations["porchlight.dev/ip-allocated-from-pool"]
		return len(s.Status.LoadBalancer.Ingress) == 0 && !from &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Allocated", metav1.ConditionFalse, reason) &&
			!slices.ContainsFunc(says, func(word string) bool { return !strings.Contains(allocated(s).Message, word) })
	})
}

func allocated(s *corev1.Service) metav1.Condition {
	if c := meta.FindStatusCondition(s.Status.Conditions, "porchlight.dev/Allocated"); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// change merges a patch into a Service or pool. It is a patch because others
// write to the object meanwhile.
func change(t *testing.T, c *cluster.Cluster, o client.Object, patch string) {
	t.Helper()
	if err := c.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

func aService(ns, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
}

func remove(t *testing.T, c *cluster.Cluster, o client.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// label sets a label of a namespace; an empty value removes it.
func label(t *testing.T, c *cluster.Cluster, ns, key, value string) {
	t.Helper()
	quoted := "null"
	if value != "" {
		quoted = `"` + value + `"`
	}
	change(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}},
		fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, key, quoted))
}

// told are the events that the controller has told of a Service so far, as
// reason and message; one that is a series counts as often as it was told.
func told(ctx context.Context, t *testing.T, c *cluster.Cluster, ns, name string) []string {
	t.Helper()
	var all corev1.EventList
	if err := c.List(ctx, &all, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range all.Items {
		if e.InvolvedObject.Name != name || e.ReportingController != "porchlight-controller" {
			continue
		}
		times := max(1, int(e.Count))
		if e.Series != nil {
			times = max(times, int(e.Series.Count))
		}
		for range times {
			told = append(told, e.Reason+": "+e.Message)
		}
	}
	return told
}

// awaitTold waits until the controller told of the Service an event with that
// reason whose message names all that it is about.
func awaitTold(t *testing.T, c *cluster.Cluster, ns, name, reason string, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	w, err := c.Watch(ctx, &corev1.EventList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for {
		all := told(context.WithoutCancel(ctx), t, c, ns, name)
		if slices.ContainsFunc(all, func(e string) bool {
			message, is := strings.CutPrefix(e, reason+": ")
			return is && !slices.ContainsFunc(says, func(word string) bool { return !strings.Contains(message, word) })
		}) {
			return
		}
		if _, open := <-w.ResultChan(); !open {
			t.Fatalf("no event %s on service %s/%s that names %q; told: %q", reason, ns, name, says, all)
		}
	}
}

// quiesce waits until every event that the controller owes has been told: it
// tells them in order, the recorder hands on each in a goroutine of its own,
// and so an event that is begun after another has ended is behind all.
func quiesce(t *testing.T, c *cluster.Cluster, ns string) {
	t.Helper()
	for range 2 {
		fence := fmt.Sprintf("fence-%d", time.Now().UnixNano())
		c.Apply(t, ns, service(fence, ""))
		served(t, c, ns, fence, 1)
		awaitTold(t, c, ns, fence, "Allocated")
		remove(t, c, aService(ns, fence))
	}
}

// bystander makes a Service that what the test does must not concern. The
// function it returns checks that it was left alone: the same address, no
// change of its condition, and no event but the first.
func bystander(t *testing.T, c *cluster.Cluster, ns string) (untouched func()) {
	t.Helper()
	c.Apply(t, ns, service("bystander", ""))
	before := served(t, c, ns, "bystander", 1)
	awaitTold(t, c, ns, "bystander", "Allocated")
	return func() {
		t.Helper()
		quiesce(t, c, ns)
		now := served(t, c, ns, "bystander", 1)
		if had, has := cluster.Addresses(before), cluster.Addresses(now); !slices.Equal(had, has) {
			t.Errorf("the bystander had %v and has %v", had, has)
		}
		if was, is := allocated(before), allocated(now); was != is {
			t.Errorf("the bystander's condition was %v and is %v", was, is)
		}
		if events := told(t.Context(), t, c, ns, "bystander"); len(events) != 1 {
			t.Errorf("events of the bystander: %q; want the first alone", events)
		}
	}
}

// inALaterSecond makes the object, with a creation time after that of the
// other: the API has it in whole seconds, and age decides.
func inALaterSecond(t *testing.T, c *cluster.Cluster, than metav1.Time, text, namespace string, o client.Object) {
	t.Helper()
	cluster.Eventually(t, "a second passes", func(context.Context) error {
		if now := time.Now(); !now.Truncate(time.Second).After(than.Time) {
			return fmt.Errorf("it is %v still", now)
		}
		return nil
	})
	c.Apply(t, namespace, text)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	if created := o.GetCreationTimestamp(); !than.Before(&created) {
		t.Fatalf("%s was made at %v, which is not after %v", o.GetName(), created, than)
	}
}
