package assign

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const poolAnnotation = names.Prefix + names.AllocatedFromPool

// seen is what the API server says of a Service, as far as we write it.
type seen struct {
	uid       types.UID
	version   string
	balancer  bool     // of type LoadBalancer
	addresses []string // of its ingress, in order
	foreign   bool     // the ingress has something in it that we do not write
	pools     string   // our annotation
	condition *metav1.Condition
	announced bool // a speaker said something of its addresses
}

func look(svc *corev1.Service) seen {
	s := seen{
		uid: svc.UID, version: svc.ResourceVersion, pools: svc.Annotations[poolAnnotation],
		balancer: svc.Spec.Type == corev1.ServiceTypeLoadBalancer,
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		s.addresses = append(s.addresses, in.IP)
		s.foreign = s.foreign || in.IP == "" || in.Hostname != "" || len(in.Ports) > 0 ||
			in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeVIP
	}
	if c := meta.FindStatusCondition(svc.Status.Conditions, names.Allocated); c != nil {
		condition := *c
		s.condition = &condition
	}
	s.announced = meta.FindStatusCondition(svc.Status.Conditions, names.Announced) != nil
	return s
}

// marked says whether the Service bears something of ours.
func (s seen) marked() bool { return s.pools != "" || s.condition != nil || s.announced }

// wish is what a Service's status shall be; without a reason, it is that nothing
// of ours is there.
type wish struct {
	addresses []string
	pools     string
	reason    reason.Reason
	message   string
	foreign   bool // the addresses that it has are not ours to take
}

func wishOf(d allocator.Decision) wish {
	w := wish{pools: strings.Join(d.Pools, ","), reason: d.Reason, message: d.Message}
	for _, a := range d.Addresses {
		w.addresses = append(w.addresses, a.String())
	}
	return w
}

func (w wish) equal(o wish) bool {
	return slices.Equal(w.addresses, o.addresses) && w.pools == o.pools && w.reason == o.reason && w.message == o.message &&
		w.foreign == o.foreign
}

func (w wish) status() metav1.ConditionStatus {
	if w.reason == reason.Allocated {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// fulfilled says whether the Service is as we wish it.
func (w wish) fulfilled(s seen) bool {
	if w.reason == "" {
		return !s.marked()
	}
	if len(w.addresses) == 0 && s.announced {
		return false
	}
	return !s.foreign && slices.Equal(w.addresses, s.addresses) && w.pools == s.pools && w.saidBy(s.condition)
}

// saidBy says whether the condition is the one we wish.
func (w wish) saidBy(c *metav1.Condition) bool {
	return c != nil && c.Status == w.status() && c.Reason == string(w.reason) && c.Message == w.message
}

// isNews says whether somebody who knows what was seen before is to be told of
// the wish.
func (w wish) isNews(before seen) bool { return w.reason != "" && !w.saidBy(before.condition) }

// news is the event on a wish that was fulfilled.
func (w wish) news(before seen) newsItem {
	item := newsItem{before.uid, w.reason, w.message}
	if len(w.addresses) > 0 && len(before.addresses) > 0 && !slices.Equal(w.addresses, before.addresses) {
		if longer := fmt.Sprintf("%s; before it was %s", w.message, strings.Join(before.addresses, ", ")); len(longer) <= longestNote {
			item.message = longer
		}
	}
	return item
}

// patch is the strategic merge patch that fulfils the wish, for the version of
// the Service that was seen, and no other. What is said of announcing goes with
// the addresses, in the same write: no speaker has to notice.
func (w wish) patch(s seen, now time.Time) ([]byte, error) {
	condition := map[string]any{"type": names.Allocated, "$patch": "delete"}
	if w.reason != "" {
		changed := metav1.NewTime(now.Truncate(time.Second))
		if s.condition != nil && s.condition.Status == w.status() {
			changed = s.condition.LastTransitionTime
		}
		condition = map[string]any{
			"type": names.Allocated, "status": w.status(), "reason": w.reason, "message": w.message,
			"lastTransitionTime": changed,
		}
	}
	conditions := []any{condition}
	if len(w.addresses) == 0 {
		conditions = append(conditions, map[string]any{"type": names.Announced, "$patch": "delete"})
	}
	status := map[string]any{"conditions": conditions}
	if s.balancer && !w.foreign {
		var ingress []any // null where there is no address: the field goes
		for _, a := range w.addresses {
			ingress = append(ingress, map[string]any{"ip": a, "ipMode": corev1.LoadBalancerIPModeVIP})
		}
		status["loadBalancer"] = map[string]any{"ingress": ingress}
	}
	var pools any
	if w.pools != "" {
		pools = w.pools
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": s.uid, "resourceVersion": s.version,
			"annotations": map[string]any{poolAnnotation: pools},
		},
		"status": status,
	})
}

// Types of the conditions of a pool.
const (
	conditionReady     = "Ready"
	conditionOverlap   = "Overlap"
	conditionExhausted = "Exhausted"
)

// poolPatch is the server-side apply of a pool's status; was are the conditions
// that it has. The counters are written as decimal strings: a quantity made by
// its library ends at 2^63-1, and turns 1000 into 1k.
func poolPatch(st allocator.PoolState, namespace string, was []metav1.Condition, generation int64, now time.Time) ([]byte, error) {
	conditions := []metav1.Condition{}
	say := func(kind string, status metav1.ConditionStatus, why reason.Reason, message string) {
		c := metav1.Condition{
			Type: kind, Status: status, Reason: string(why), Message: message,
			ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		}
		if old := meta.FindStatusCondition(was, kind); old != nil && old.Status == status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		conditions = append(conditions, c)
	}
	if st.Ready() {
		say(conditionReady, metav1.ConditionTrue, st.Reason, st.Message)
	} else {
		say(conditionReady, metav1.ConditionFalse, st.Reason, st.Message)
	}
	if st.Reason == reason.Overlap {
		say(conditionOverlap, metav1.ConditionTrue, st.Reason, st.Message)
	}
	if len(st.Exhausted) > 0 {
		say(conditionExhausted, metav1.ConditionTrue, reason.Exhausted, fmt.Sprintf("no free address of %v", st.Exhausted))
	} else {
		say(conditionExhausted, metav1.ConditionFalse, reason.Available, "there are free addresses, or none at all")
	}
	v4, v6 := st.Usage[allocator.IPv4], st.Usage[allocator.IPv6]
	return json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(),
		"kind":       "IPAddressPool",
		"metadata":   map[string]any{"name": st.Name, "namespace": namespace},
		"status": map[string]any{
			"assignedIPv4": v4.Assigned.String(), "availableIPv4": v4.Available.String(),
			"assignedIPv6": v6.Assigned.String(), "availableIPv6": v6.Available.String(),
			"conditions": conditions,
		},
	})
}
