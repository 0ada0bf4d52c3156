package status

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/check"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Report is the state of an installation. Its JSON form is what `porchlight
// status -o json` prints.
type Report struct {
	Namespace string    `json:"namespace"`
	Programs  []Program `json:"programs"`
	// Findings are what `porchlight check` finds.
	Findings []check.Finding `json:"findings"`
	Pools    []Pool          `json:"pools"`
	Services []Service       `json:"services"`
	Sessions []Session       `json:"sessions"`
	Gateways []Gateway       `json:"gateways"`
	Fleets   []Fleet         `json:"fleets"`
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
	Image  string `json:"image,omitempty"`
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
	// Announcements of the addresses, those of layer 2 first, by node.
	Announcements []Announcement `json:"announcements"`
	Allocated     State          `json:"allocated"`
	Announced     State          `json:"announced"`
}

// Protocols that an address is announced by.
const (
	Layer2 = "layer2"
	BGP    = "bgp"
)

// Announcement is a node that tells the network of a Service's addresses.
type Announcement struct {
	Node     string `json:"node"`
	Protocol string `json:"protocol"`
	// To are the interfaces that it answers on, or the BGPPeers that it tells.
	To []string `json:"to"`
}

func (s Service) ok() bool { return s.Allocated.ok() && s.Announced.ok() }

// Session is the BGP session of a node to a peer.
type Session struct {
	Node      string       `json:"node"`
	Peer      string       `json:"peer"`
	State     string       `json:"state"`
	BFD       string       `json:"bfd"`
	Prefixes  int64        `json:"prefixes"`
	Since     *metav1.Time `json:"since,omitempty"`
	LastError string       `json:"lastError,omitempty"`
}

func (s Session) ok() bool { return s.State == string(v1beta1.SessionEstablished) }

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
func Summarize(o *inventory.Objects) *Report {
	r := &Report{
		Namespace: o.Namespace,
		Programs:  []Program{},
		Findings:  []check.Finding{},
		Pools:     []Pool{},
		Services:  services(o),
		Sessions:  sessions(o),
		Gateways:  gateways(o),
		Fleets:    []Fleet{},
	}
	r.Findings = append(r.Findings, check.Run(o).Findings()...)
	for _, p := range o.Programs() {
		r.Programs = append(r.Programs, Program{p.Component, p.Ready, p.Wanted, p.Image})
	}
	for _, p := range inventory.Sorted(o.Pools.Items) {
		r.Pools = append(r.Pools, pool(p))
	}
	for _, f := range inventory.Sorted(o.Fleets.Items) {
		r.Fleets = append(r.Fleets, Fleet{f.Name, f.Status.ReadyReplicas, inventory.Replicas(f.Spec.Replicas), state(f.Status.Conditions, "Ready")})
	}
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

func services(o *inventory.Objects) []Service {
	list := []Service{}
	owners, announcers := o.Owners(), o.Announcers()
	for _, svc := range o.LoadBalancers() {
		s := Service{
			Namespace:     svc.Namespace,
			Name:          svc.Name,
			Addresses:     inventory.Addresses(svc),
			Pools:         inventory.PoolsOf(svc),
			Announcements: []Announcement{},
			Allocated:     state(svc.Status.Conditions, names.Allocated),
			Announced:     state(svc.Status.Conditions, names.Announced),
		}
		for _, owner := range owners[inventory.KeyOf(svc)] {
			s.Announcements = append(s.Announcements, Announcement{owner.Node, Layer2, owner.Interfaces})
		}
		for _, a := range announcers[inventory.KeyOf(svc)] {
			s.Announcements = append(s.Announcements, Announcement{a.Node, BGP, a.Peers})
		}
		list = append(list, s)
	}
	return list
}

func sessions(o *inventory.Objects) []Session {
	list := []Session{}
	for i := range o.Sessions.Items {
		s := &o.Sessions.Items[i].Status
		list = append(list, Session{s.Node, s.Peer, string(s.State), string(s.BFDState), s.Prefixes, s.Since, s.LastError})
	}
	slices.SortFunc(list, func(a, b Session) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), strings.Compare(a.Node, b.Node))
	})
	return list
}

func gateways(o *inventory.Objects) []Gateway {
	classes := o.GatewayClasses()
	list := []Gateway{}
	for _, gw := range inventory.Sorted(o.Gateways.Items) {
		if !classes[string(gw.Spec.GatewayClassName)] {
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
	return list
}

func state(conditions []metav1.Condition, kind string) State {
	c := meta.FindStatusCondition(conditions, kind)
	if c == nil {
		return State{Status: metav1.ConditionUnknown}
	}
	return State{c.Status, c.Reason, c.Message}
}
