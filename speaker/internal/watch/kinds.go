package watch

import (
	"iter"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// speakerLabel selects the speakers' pods.
const speakerLabel = "app.kubernetes.io/component=speaker"

func (w *Watch) nodes(api rest.Interface) kind[*corev1.Node, *Node] {
	return kind[*corev1.Node, *Node]{
		client: api, resource: "nodes", object: &corev1.Node{},
		summarize: func(o *corev1.Node) (*Node, bool) { return newNode(o, w.ignoreExclude), true },
		set:       func(n types.NamespacedName, s *Node) { w.setNode(n.Name, s) },
		remove:    func(n types.NamespacedName) { w.setNode(n.Name, nil) },
		known:     func() iter.Seq[types.NamespacedName] { return named("", maps.Keys(w.state.Nodes)) },
	}
}

func (w *Watch) speakers(api rest.Interface) kind[*corev1.Pod, Speaker] {
	return kind[*corev1.Pod, Speaker]{
		client: api, resource: "pods", namespace: w.namespace, labels: speakerLabel, object: &corev1.Pod{},
		summarize: newSpeaker, set: w.setSpeaker, remove: w.removeSpeaker,
		known: func() iter.Seq[types.NamespacedName] { return maps.Keys(w.state.Speakers) },
	}
}

func (w *Watch) pools(api rest.Interface) kind[*v1beta1.IPAddressPool, *Pool] {
	return kind[*v1beta1.IPAddressPool, *Pool]{
		client: api, resource: "ipaddresspools", namespace: w.namespace, object: &v1beta1.IPAddressPool{},
		summarize: func(o *v1beta1.IPAddressPool) (*Pool, bool) { return newPool(o), true },
		set:       func(n types.NamespacedName, s *Pool) { w.setPool(n.Name, s) },
		remove:    func(n types.NamespacedName) { w.setPool(n.Name, nil) },
		known:     func() iter.Seq[types.NamespacedName] { return named(w.namespace, maps.Keys(w.state.Pools)) },
	}
}

func (w *Watch) l2advertisements(api rest.Interface) kind[*v1beta1.L2Advertisement, *v1beta1.L2AdvertisementSpec] {
	return kind[*v1beta1.L2Advertisement, *v1beta1.L2AdvertisementSpec]{
		client: api, resource: "l2advertisements", namespace: w.namespace, object: &v1beta1.L2Advertisement{},
		summarize: func(o *v1beta1.L2Advertisement) (*v1beta1.L2AdvertisementSpec, bool) {
			spec := o.Spec // the rest need not stay
			return &spec, true
		},
		set:    func(n types.NamespacedName, s *v1beta1.L2AdvertisementSpec) { w.setL2Advertisement(n.Name, s) },
		remove: func(n types.NamespacedName) { w.setL2Advertisement(n.Name, nil) },
		known: func() iter.Seq[types.NamespacedName] {
			return named(w.namespace, maps.Keys(w.state.L2Advertisements))
		},
	}
}

// endpointSlices are those of all Services: which of them have addresses is
// not written on them.
func (w *Watch) endpointSlices(api rest.Interface) kind[*discoveryv1.EndpointSlice, endpoints] {
	return kind[*discoveryv1.EndpointSlice, endpoints]{
		client: api, resource: "endpointslices", object: &discoveryv1.EndpointSlice{},
		summarize: newEndpoints, set: w.setSlice, remove: w.removeSlice,
		known: func() iter.Seq[types.NamespacedName] { return maps.Keys(w.state.slices) },
	}
}

func (w *Watch) services(api rest.Interface) kind[*corev1.Service, *Service] {
	return kind[*corev1.Service, *Service]{
		client: api, resource: "services", object: &corev1.Service{},
		fields:    fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String(),
		summarize: func(o *corev1.Service) (*Service, bool) { return newService(o, w.Class) }, set: w.setService, remove: w.removeService,
		known: func() iter.Seq[types.NamespacedName] { return maps.Keys(w.state.Services) },
	}
}

// named yields names in a namespace. Only the goroutine that follows a kind
// changes what there is of it, so that it may go over it without the lock.
func named(namespace string, in iter.Seq[string]) iter.Seq[types.NamespacedName] {
	return func(yield func(types.NamespacedName) bool) {
		for name := range in {
			if !yield(types.NamespacedName{Namespace: namespace, Name: name}) {
				return
			}
		}
	}
}
