package assign

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The patch, applied as the API server applies it, changes our fields alone,
// and fulfils the wish.
func TestPatch(t *testing.T) {
	announced := metav1.Condition{Type: names.Announced, Status: metav1.ConditionTrue, Reason: "Announced"}
	given := wish{addresses: []string{"10.0.0.1", "fd00::1"}, pools: "p,q", reason: reason.Allocated, message: "m"}
	refused := wish{reason: reason.PoolExhausted, message: "no free IPv4 address in pool p"}
	early := metav1.NewTime(time.Unix(500, 0))
	bare := balancer("a")
	held := marked(balancer("a", "10.0.0.7"), reason.Allocated, "old", "p")
	held.Status.Conditions[0].LastTransitionTime = early
	held.Status.Conditions = append(held.Status.Conditions, announced,
		metav1.Condition{Type: "example.com/theirs", Status: metav1.ConditionTrue, Reason: "Stays"})
	held.Annotations["theirs"] = "stays"
	cluster := held.DeepCopy()
	cluster.Spec.Type, cluster.Status.LoadBalancer = corev1.ServiceTypeClusterIP, corev1.LoadBalancerStatus{}
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		wish wish
		time int64
	}{
		{"first", bare, given, 1000},
		{"another address", held, given, 500},
		{"address lost", held, refused, 1000},
		{"released", held, wish{}, 0},
		{"type changed", cluster, wish{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := look(c.svc)
			patch, err := c.wish.patch(before, time.Unix(1000, 0))
			if err != nil {
				t.Fatal(err)
			}
			svc := patched(t, c.svc, patch)
			after := look(svc)
			if !c.wish.fulfilled(after) {
				t.Errorf("not fulfilled by %s: %+v", patch, after)
			}
			if c.wish.reason == "" && len(after.addresses) > 0 {
				t.Errorf("still has %v", after.addresses)
			}
			if after.condition != nil && after.condition.LastTransitionTime.Unix() != c.time {
				t.Errorf("last transition at %d", after.condition.LastTransitionTime.Unix())
			}
			if c.svc != bare && (svc.Annotations["theirs"] != "stays" || meta.FindStatusCondition(svc.Status.Conditions, "example.com/theirs") == nil) {
				t.Errorf("others' fields: %v, %v", svc.Annotations, svc.Status.Conditions)
			}
			if wanted := before.announced && len(c.wish.addresses) > 0; after.announced != wanted {
				t.Errorf("announced: %v; it goes with the addresses", after.announced)
			}
			if !strings.Contains(string(patch), `"resourceVersion":"1"`) || !strings.Contains(string(patch), `"uid":"u"`) {
				t.Errorf("unconditional: %s", patch)
			}
			svc.Spec, svc.Status, svc.Annotations = corev1.ServiceSpec{}, corev1.ServiceStatus{}, nil
			want := c.svc.DeepCopy()
			want.Spec, want.Status, want.Annotations = corev1.ServiceSpec{}, corev1.ServiceStatus{}, nil
			if diff := cmp.Diff(want, svc); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPoolPatchIsExact(t *testing.T) {
	n, _ := new(big.Int).SetString("18446744073709551614", 10)
	none := new(big.Int)
	st := allocator.PoolState{Name: "p", Reason: reason.Ready, Message: "m", Exhausted: []allocator.Family{allocator.IPv4}}
	st.Usage[allocator.IPv4] = allocator.Usage{Assigned: big.NewInt(1000), Available: none}
	st.Usage[allocator.IPv6] = allocator.Usage{Assigned: none, Available: n}
	was := []metav1.Condition{{Type: conditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Unix(500, 0))}}
	got, err := poolPatch(st, "ns", was, 3, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`"assignedIPv4":"1000"`, `"availableIPv4":"0"`, `"availableIPv6":"18446744073709551614"`,
		`{"type":"Ready","status":"True","observedGeneration":3,"lastTransitionTime":"1970-01-01T00:08:20Z","reason":"Ready","message":"m"}`,
		`"no free address of [IPv4]"`,
	} {
		if !strings.Contains(string(got), part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
}
