package watch

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Component is the label by whose value speaker a speaker's pod is known.
const (
	Component = "app.kubernetes.io/component"
	Speaker   = "speaker"
)

// CacheOptions keep of each object only what the speaker reads: at thousands of
// Services the rest is most of the memory.
func CacheOptions(namespace string) cache.Options {
	own := map[string]cache.Config{namespace: {}}
	no := false
	return cache.Options{
		DefaultTransform:             cache.TransformStripManagedFields(),
		DefaultUnsafeDisableDeepCopy: ptr(true),
		DefaultEnableWatchBookmarks:  ptr(true),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {
				Field:     fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)),
				Transform: trimService,
			},
			&corev1.Node{}:               {Transform: trimNode},
			&discoveryv1.EndpointSlice{}: {Transform: trimSlice},
			&corev1.Pod{}: {
				Namespaces: own, Transform: trimPod,
				Label: labels.SelectorFromSet(labels.Set{Component: Speaker}),
			},
			&v1beta1.L2Advertisement{}: {Namespaces: own},
			&v1beta1.IPAddressPool{}:   {Namespaces: own, UnsafeDisableDeepCopy: &no},
		},
	}
}

func ptr[T any](v T) *T { return &v }

// meta keeps what names an object and what selectors read.
func meta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels,
	}
}

func trimService(o any) (any, error) {
	s, ok := o.(*corev1.Service)
	if !ok {
		return o, nil
	}
	out := &corev1.Service{ObjectMeta: meta(&s.ObjectMeta)}
	if pools, ok := s.Annotations[names.Prefix+names.AllocatedFromPool]; ok {
		out.Annotations = map[string]string{names.Prefix + names.AllocatedFromPool: pools}
	}
	out.Spec = corev1.ServiceSpec{Type: s.Spec.Type, ExternalTrafficPolicy: s.Spec.ExternalTrafficPolicy}
	for _, i := range s.Status.LoadBalancer.Ingress {
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: i.IP})
	}
	for _, c := range s.Status.Conditions {
		if c.Type == names.Allocated || c.Type == names.Announced {
			out.Status.Conditions = append(out.Status.Conditions, c)
		}
	}
	return out, nil
}

func trimNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	out := &corev1.Node{ObjectMeta: meta(&n.ObjectMeta), Spec: corev1.NodeSpec{Taints: n.Spec.Taints}}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady || c.Type == corev1.NodeNetworkUnavailable {
			out.Status.Conditions = append(out.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	return out, nil
}

// trimSlice keeps one endpoint of each node, of those that may serve.
func trimSlice(o any) (any, error) {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return o, nil
	}
	out := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Name: s.Name, Namespace: s.Namespace, UID: s.UID, ResourceVersion: s.ResourceVersion,
		Labels: map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]},
	}}
	seen := map[string]bool{}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		node := ""
		if e.NodeName != nil {
			node = *e.NodeName
		}
		if serves(e.Conditions) && !seen[node] {
			seen[node] = true
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{NodeName: e.NodeName})
		}
	}
	return out, nil
}

// serves says whether an endpoint takes traffic: it is ready (unset means yes),
// or it serves while it terminates.
func serves(c discoveryv1.EndpointConditions) bool {
	ready := c.Ready == nil || *c.Ready
	return ready || c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating
}

func trimPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	return &corev1.Pod{
		ObjectMeta: meta(&p.ObjectMeta),
		Spec:       corev1.PodSpec{NodeName: p.Spec.NodeName},
		Status:     corev1.PodStatus{Phase: p.Status.Phase, HostIP: p.Status.HostIP},
	}, nil
}
