package status

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Labels that the installation's workloads carry.
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
)

// Report is the state of an installation. Its JSON form is what `porchlight
// status -o json` prints.
type Report struct {
	Namespace string    `json:"namespace"`
	Programs  []Program `json:"programs"`
	Pools     []Pool    `json:"pools"`
	Services  []Service `json:"services"`
	Gateways  []Gateway `json:"gateways"`
	Fleets    []Fleet   `json:"fleets"`
}

// State is a condition of an object. Status is True, False or Unknown; an
// object without the condition is Unknown, without a reason.
type State struct {
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason,omitempty"`
	Message string                 `json:"message,omitempty"`
}

func (s State) ok() bool { return s.Status == metav1.ConditionTrue }

// Program is a workload of the installation.
type Program struct {
	Name   string `json:"name"`
	Ready  int32  `json:"ready"`
	Wanted int32  `json:"wanted"`
}

// Pool is an IPAddressPool and its use; the counts are decimal numbers, which
// for IPv6 may be greater than an integer of 64 bits.
type Pool struct {
	Name          string   `json:"name"`
	Addresses     []string `json:"addresses"`
	AssignedIPv4  string   `json:"assignedIPv4"`
	AvailableIPv4 string   `json:"availableIPv4"`
	AssignedIPv6  string   `json:"assignedIPv6"`
	AvailableIPv6 string   `json:"availableIPv6"`
	Ready         State    `json:"ready"`
}

// Service is a Service of type LoadBalancer.
type Service struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	// Pools that the addresses are from.
	Pools []string `json:"pools"`
	// Nodes that answer for the addresses.
	Nodes     []string `json:"nodes"`
	Allocated State    `json:"allocated"`
	Announced State    `json:"announced"`
}

func (s Service) ok() bool { return s.Allocated.ok() && s.Announced.ok() }

// Gateway is a Gateway of a class of ours.
type Gateway struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Class     string   `json:"class"`
	Addresses []string `json:"addresses"`
	Listeners int      `json:"listeners"`
	// AttachedRoutes is the sum over the listeners.
	AttachedRoutes int32 `json:"attachedRoutes"`
	Accepted       State `json:"accepted"`
	Programmed     State `json:"programmed"`
}

func (g Gateway) ok() bool { return g.Accepted.ok() && g.Programmed.ok() }

// Fleet is an EnvoyFleet.
type Fleet struct {
	Name   string `json:"name"`
	Ready  int32  `json:"ready"`
	Wanted int32  `json:"wanted"`
	State  State  `json:"state"`
}

// Summarize makes a Report of the objects, sorted by name, whatever their
// order.
func Summarize(o *Objects) *Report {
	r := &Report{
		Namespace: o.Namespace,
		Programs:  []Program{},
		Pools:     []Pool{},
		Services:  services(o),
		Gateways:  gateways(o),
		Fleets:    []Fleet{},
	}
	for _, d := range o.Deployments {
		r.Programs = append(r.Programs, Program{d.Labels[componentLabel], d.Status.ReadyReplicas, replicas(d.Spec.Replicas)})
	}
	for _, d := range o.DaemonSets {
		r.Programs = append(r.Programs, Program{d.Labels[componentLabel], d.Status.NumberReady, d.Status.DesiredNumberScheduled})
	}
	for i := range o.Pools {
		r.Pools = append(r.Pools, pool(&o.Pools[i]))
	}
	for _, f := range o.Fleets {
		r.Fleets = append(r.Fleets, Fleet{f.Name, f.Status.ReadyReplicas, replicas(f.Spec.Replicas), state(f.Status.Conditions, "Ready")})
	}
	slices.SortFunc(r.Programs, func(a, b Program) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Fleets, func(a, b Fleet) int { return strings.Compare(a.Name, b.Name) })
	return r
}

func pool(p *v1beta1.IPAddressPool) Pool {
	blocks := make([]string, len(p.Spec.Addresses))
	for i, b := range p.Spec.Addresses {
		blocks[i] = string(b)
	}
	return Pool{
		Name:          p.Name,
		Addresses:     blocks,
		AssignedIPv4:  p.Status.AssignedIPv4,
		AvailableIPv4: p.Status.AvailableIPv4,
		AssignedIPv6:  p.Status.AssignedIPv6,
		AvailableIPv6: p.Status.AvailableIPv6,
		Ready:         state(p.Status.Conditions, "Ready"),
	}
}

func services(o *Objects) []Service {
	type key struct{ namespace, name string }
	announcers := map[key][]string{}
	for _, s := range o.L2Statuses {
		k := key{s.Status.ServiceNamespace, s.Status.ServiceName}
		announcers[k] = append(announcers[k], s.Status.Node)
	}
	list := []Service{}
	for i := range o.Services {
		svc := &o.Services[i]
		if !ours(svc) {
			continue
		}
		s := Service{
			Namespace: svc.Namespace,
			Name:      svc.Name,
			Addresses: []string{},
			Pools:     []string{},
			Nodes:     []string{},
			Allocated: state(svc.Status.Conditions, names.Allocated),
			Announced: state(svc.Status.Conditions, names.Announced),
		}
		for _, in := range svc.Status.LoadBalancer.Ingress {
			s.Addresses = append(s.Addresses, in.IP)
		}
		if from := svc.Annotations[names.Prefix+names.AllocatedFromPool]; from != "" {
			s.Pools = strings.Split(from, ",")
		}
		s.Nodes = append(s.Nodes, announcers[key{svc.Namespace, svc.Name}]...)
		slices.Sort(s.Nodes)
		s.Nodes = slices.Compact(s.Nodes)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Service) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return list
}

// ours says whether a Service asks for an address that we might give: it has
// no class or ours, or the controller, told of another class, has spoken.
func ours(svc *corev1.Service) bool {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return false
	}
	class := svc.Spec.LoadBalancerClass
	return class == nil || *class == names.LoadBalancerClass ||
		meta.FindStatusCondition(svc.Status.Conditions, names.Allocated) != nil
}

func gateways(o *Objects) []Gateway {
	classes := map[gatewayv1.ObjectName]bool{}
	for _, c := range o.Classes {
		if c.Spec.ControllerName == names.GatewayController {
			classes[gatewayv1.ObjectName(c.Name)] = true
		}
	}
	list := []Gateway{}
	for _, gw := range o.Gateways {
		if !classes[gw.Spec.GatewayClassName] {
			continue
		}
		g := Gateway{
			Namespace:  gw.Namespace,
			Name:       gw.Name,
			Class:      string(gw.Spec.GatewayClassName),
			Addresses:  []string{},
			Listeners:  len(gw.Spec.Listeners),
			Accepted:   state(gw.Status.Conditions, string(gatewayv1.GatewayConditionAccepted)),
			Programmed: state(gw.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed)),
		}
		for _, a := range gw.Status.Addresses {
			g.Addresses = append(g.Addresses, a.Value)
		}
		for _, l := range gw.Status.Listeners {
			g.AttachedRoutes += l.AttachedRoutes
		}
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Gateway) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return list
}

func state(conditions []metav1.Condition, kind string) State {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return State{Status: metav1.ConditionUnknown}
	}
	return State{c.Status, c.Reason, c.Message}
}

// replicas is the number of replicas that a workload asks for.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
