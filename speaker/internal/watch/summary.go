package watch

import (
	"hash/fnv"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Service is a Service that has addresses of ours.
type Service struct {
	UID types.UID
	// Addresses in order, without duplicates; one at least.
	Addresses []netip.Addr
	// Pools that the addresses are from, as the controller wrote them.
	Pools  []string
	Labels Labels
	// Port is one of its ports, by which the service proxy can be asked about its
	// addresses; of number 0 where it has none of TCP or UDP, or names a proxy of
	// its own.
	Port Port
	// Local: only nodes with an endpoint take traffic (externalTrafficPolicy).
	Local bool
	// Announced is the condition of that name.
	Announced Condition
}

// Port is a port of TCP, or of UDP.
type Port struct {
	Number uint16
	UDP    bool
}

// otherProxy is the label of a Service that the cluster's service proxy leaves to
// another (KEP-2447).
const otherProxy = "service.kubernetes.io/service-proxy-name"

func newPort(o *corev1.Service) Port {
	if _, other := o.Labels[otherProxy]; other {
		return Port{}
	}
	for _, p := range o.Spec.Ports {
		if p.Protocol != corev1.ProtocolSCTP {
			return Port{uint16(p.Port), p.Protocol == corev1.ProtocolUDP}
		}
	}
	return Port{}
}

// Condition is what is kept of a condition of an object.
type Condition struct {
	Status metav1.ConditionStatus // empty: there is no such condition
	Since  time.Time              // of the status
	// Says is the Digest of what it says.
	Says uint64
}

// Digest is of all that a condition says beside the time.
func Digest(c metav1.Condition) uint64 {
	h := fnv.New64a()
	for _, s := range [...]string{string(c.Status), c.Reason, c.Message} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

func newService(o *corev1.Service, class names.Class) (*Service, bool) {
	if !class.Owns(o.Spec.LoadBalancerClass) {
		return nil, false
	}
	ips := addresses(o)
	if len(ips) == 0 {
		return nil, false
	}
	s := &Service{
		UID: o.UID, Addresses: ips, Labels: NewLabels(o.Labels), Port: newPort(o),
		Local: o.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	for p := range strings.SplitSeq(o.Annotations[names.Prefix+names.AllocatedFromPool], ",") {
		if p = strings.TrimSpace(p); p != "" {
			s.Pools = append(s.Pools, p)
		}
	}
	if i := slices.IndexFunc(o.Status.Conditions, func(c metav1.Condition) bool { return c.Type == names.Announced }); i >= 0 {
		c := o.Status.Conditions[i]
		s.Announced = Condition{Status: c.Status, Since: c.LastTransitionTime.Time, Says: Digest(c)}
	}
	return s, true
}

// addresses are those that the controller gave to a Service.
func addresses(o *corev1.Service) []netip.Addr {
	_, given := o.Annotations[names.Prefix+names.AllocatedFromPool]
	given = given || slices.ContainsFunc(o.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == names.Allocated && c.Status == metav1.ConditionTrue
	})
	if !given || o.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var ips []netip.Addr
	for _, i := range o.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(i.IP); err == nil {
			ips = append(ips, ip.Unmap())
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

// endpoints is what an EndpointSlice says: on which nodes its Service is
// served. An endpoint without a node is on the node "".
type endpoints struct {
	service types.NamespacedName
	nodes   []string // in order, without duplicates
}

func newEndpoints(o *discoveryv1.EndpointSlice) (endpoints, bool) {
	e := endpoints{service: types.NamespacedName{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}}
	if e.service.Name == "" {
		return e, false
	}
	for i := range o.Endpoints {
		if serves(o.Endpoints[i].Conditions) {
			node := ""
			if name := o.Endpoints[i].NodeName; name != nil {
				node = *name
			}
			e.nodes = append(e.nodes, node)
		}
	}
	slices.Sort(e.nodes)
	e.nodes = slices.Clip(slices.Compact(e.nodes))
	return e, true
}

// serves says whether an endpoint takes traffic: it is ready (unset means yes),
// or it serves while it terminates.
func serves(c discoveryv1.EndpointConditions) bool {
	ready := c.Ready == nil || *c.Ready
	return ready || c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating
}

// Node is what the API says of a node.
type Node struct {
	Labels map[string]string
	// Reason why the node may not announce; empty where it may.
	Reason reason.Reason
}

func newNode(o *corev1.Node, ignoreExclude bool) *Node {
	return &Node{Labels: o.Labels, Reason: nodeReason(o, ignoreExclude)}
}

func nodeReason(n *corev1.Node, ignoreExclude bool) reason.Reason {
	if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded && !ignoreExclude {
		return reason.NodeExcluded
	}
	ready, unavailable := false, false
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			ready = c.Status == corev1.ConditionTrue
		case corev1.NodeNetworkUnavailable:
			unavailable = c.Status == corev1.ConditionTrue
		}
	}
	outOfService := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	switch {
	case !ready || outOfService:
		return reason.NodeNotReady
	case unavailable:
		return reason.NetworkUnavailable
	}
	return ""
}

// Speaker is where a speaker runs.
type Speaker struct {
	Node string
	IP   netip.Addr
}

func newSpeaker(o *corev1.Pod) (Speaker, bool) {
	ip, err := netip.ParseAddr(o.Status.HostIP)
	over := o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
	return Speaker{o.Spec.NodeName, ip}, err == nil && o.Spec.NodeName != "" && !over
}

// Pool is an IPAddressPool, as far as it says which addresses are of it. Blocks
// that cannot be read are left out: the controller gives nothing of their pool.
type Pool struct {
	Labels map[string]string
	blocks []address.Range
}

func newPool(o *v1beta1.IPAddressPool) *Pool {
	p := &Pool{Labels: o.Labels}
	for _, a := range o.Spec.Addresses {
		if b, err := address.ParseBlock(string(a)); err == nil {
			p.blocks = append(p.blocks, b)
		}
	}
	return p
}

// Contains reports whether an address is of the pool's blocks.
func (p *Pool) Contains(ip netip.Addr) bool {
	return slices.ContainsFunc(p.blocks, func(b address.Range) bool { return b.Contains(ip) })
}

// Prefixes yields for each block the smallest prefix that it fits into.
func (p *Pool) Prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, b := range p.blocks {
			bits := b.From.BitLen()
			for netip.PrefixFrom(b.From, bits).Masked() != netip.PrefixFrom(b.To, bits).Masked() {
				bits--
			}
			if !yield(netip.PrefixFrom(b.From, bits).Masked()) {
				return
			}
		}
	}
}
