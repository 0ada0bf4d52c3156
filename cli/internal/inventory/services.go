package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// LoadBalancers are the Services that the installation serves, by namespace
// and name: those of its class, and those that it has spoken about.
func (o *Objects) LoadBalancers() []*corev1.Service {
	class := o.Class()
	var ours []*corev1.Service
	for _, s := range Sorted(o.Services.Items) {
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer &&
			(class.Owns(s.Spec.LoadBalancerClass) || meta.FindStatusCondition(s.Status.Conditions, names.Allocated) != nil) {
			ours = append(ours, s)
		}
	}
	return ours
}

// Addresses are the External-IPs of a Service, as they are written.
func Addresses(s *corev1.Service) []string {
	list := []string{}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			list = append(list, in.IP)
		}
	}
	return list
}

// PoolsOf are the names of the pools that a Service's addresses are from.
func PoolsOf(s *corev1.Service) []string {
	if from := s.Annotations[names.Prefix+names.AllocatedFromPool]; from != "" {
		return strings.Split(from, ",")
	}
	return []string{}
}

// Owner is a node that answers ARP and NDP for a Service.
type Owner struct {
	Node       string
	Interfaces []string
}

// Owners are, of each Service, the nodes that answer for it on layer 2, by name.
func (o *Objects) Owners() map[types.NamespacedName][]Owner {
	all := map[types.NamespacedName][]Owner{}
	for i := range o.L2Statuses.Items {
		st := &o.L2Statuses.Items[i].Status
		owner := Owner{Node: st.Node}
		for _, f := range st.Interfaces {
			owner.Interfaces = append(owner.Interfaces, f.Name)
		}
		key := types.NamespacedName{Namespace: st.ServiceNamespace, Name: st.ServiceName}
		all[key] = append(all[key], owner)
	}
	for _, owners := range all {
		slices.SortFunc(owners, func(a, b Owner) int { return cmp.Compare(a.Node, b.Node) })
	}
	return all
}

// Announcer is a node that announces a Service over BGP, and to whom.
type Announcer struct {
	Node  string
	Peers []string
}

// Announcers are, of each Service, the nodes that announce it over BGP, by name.
func (o *Objects) Announcers() map[types.NamespacedName][]Announcer {
	all := map[types.NamespacedName][]Announcer{}
	for i := range o.BGPStatuses.Items {
		st := &o.BGPStatuses.Items[i].Status
		key := types.NamespacedName{Namespace: st.ServiceNamespace, Name: st.ServiceName}
		all[key] = append(all[key], Announcer{st.Node, st.Peers})
	}
	for _, announcers := range all {
		slices.SortFunc(announcers, func(a, b Announcer) int { return cmp.Compare(a.Node, b.Node) })
	}
	return all
}

// KeyOf is the name by which Owners and Announcers know a Service.
func KeyOf(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// Endpoint is a pod, or another address, behind a port of a Service.
type Endpoint struct {
	Address string
	Port    int32
	Node    string
	// Pod's name; empty where it is no pod.
	Pod string
	// Ready for new connections, or Serving the last ones while it ends.
	Ready, Serving bool
}

// Endpoints are what is behind the port of a Service, of which there may be
// one in each family, in the order of their addresses.
func (o *Objects) Endpoints(s *corev1.Service, port corev1.ServicePort) []Endpoint {
	var all []Endpoint
	for i := range o.EndpointSlices.Items {
		slice := &o.EndpointSlices.Items[i]
		if slice.Namespace != s.Namespace || slice.Labels[discoveryv1.LabelServiceName] != s.Name {
			continue
		}
		for _, p := range slice.Ports {
			if p.Name != nil && *p.Name != port.Name || p.Name == nil && port.Name != "" || p.Port == nil {
				continue
			}
			for _, e := range slice.Endpoints {
				ep := Endpoint{Port: *p.Port, Ready: e.Conditions.Ready == nil || *e.Conditions.Ready}
				ep.Serving = e.Conditions.Serving == nil && ep.Ready || e.Conditions.Serving != nil && *e.Conditions.Serving
				if e.NodeName != nil {
					ep.Node = *e.NodeName
				}
				if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
					ep.Pod = e.TargetRef.Name
				}
				for _, a := range e.Addresses {
					ep.Address = a
					all = append(all, ep)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Endpoint) int {
		left, _ := netip.ParseAddr(a.Address)
		right, _ := netip.ParseAddr(b.Address)
		return cmp.Or(left.Compare(right), cmp.Compare(a.Port, b.Port))
	})
	return all
}

// GatewayService is the Service that was made for a Gateway, or nil.
func (o *Objects) GatewayService(namespace, gateway string) *corev1.Service {
	for _, s := range Sorted(o.Services.Items) {
		if s.Namespace == namespace && s.Labels[names.ManagedBy] == names.Porchlight && s.Labels[gatewayv1.GatewayNameLabelKey] == gateway {
			return s
		}
	}
	return nil
}

// Selects says whether an advertisement with such names and selectors is for
// the pool.
func Selects(poolNames []string, selectors []metav1.LabelSelector, pool *v1beta1.IPAddressPool) bool {
	if len(poolNames) == 0 && len(selectors) == 0 {
		return true
	}
	return slices.Contains(poolNames, pool.Name) || slices.ContainsFunc(selectors, func(s metav1.LabelSelector) bool {
		return Matches(s, pool.Labels)
	})
}

// Matches says whether the labels match the selector; none match one that
// cannot be read.
func Matches(s metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(&s)
	return err == nil && selector.Matches(labels.Set(set))
}

// Advertisements are those for a pool: "L2Advertisement default", by kind and
// name.
func (o *Objects) Advertisements(pool *v1beta1.IPAddressPool) []string {
	var all []string
	for _, a := range Sorted(o.L2Advertisements.Items) {
		if Selects(a.Spec.IPAddressPools, a.Spec.IPAddressPoolSelectors, pool) {
			all = append(all, Ref("L2Advertisement", "", a.Name))
		}
	}
	for _, a := range Sorted(o.BGPAdvertisements.Items) {
		if Selects(a.Spec.IPAddressPools, a.Spec.IPAddressPoolSelectors, pool) {
			all = append(all, Ref("BGPAdvertisement", "", a.Name))
		}
	}
	return all
}

// Ranges are the addresses of a pool without those that it excludes.
func Ranges(pool *v1beta1.IPAddressPool) ([]address.Range, error) {
	texts := func(blocks []v1beta1.AddressBlock) []string {
		var out []string
		for _, b := range blocks {
			out = append(out, string(b))
		}
		return out
	}
	return address.ParseBlocks(texts(pool.Spec.Addresses), texts(pool.Spec.Exclude))
}

// Speakers are the pods of the speakers, by the node that they are on.
func (o *Objects) Speakers() map[string]*corev1.Pod {
	on := map[string]*corev1.Pod{}
	for i := range o.Pods.Items {
		p := &o.Pods.Items[i]
		if p.Labels[ComponentLabel] != "speaker" || p.Spec.NodeName == "" {
			continue
		}
		// While one is replaced there are two; who is ready counts.
		if old := on[p.Spec.NodeName]; old == nil || IsReady(p) {
			on[p.Spec.NodeName] = p
		}
	}
	return on
}
