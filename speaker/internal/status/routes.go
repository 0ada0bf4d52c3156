package status

import (
	"context"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=servicebgpstatuses,verbs=list;create;patch;delete
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=servicebgpstatuses/status,verbs=patch

const bgpstatuses = "servicebgpstatuses"

// routes asks the BGP plan about addresses: what is so in the whole cluster,
// and which peers this node tells of any of them.
func (w *Writer) routes(ips []netip.Addr) (verdicts map[netip.Addr]bgp.Verdict, peers []string) {
	if w.Plan == nil {
		return nil, nil
	}
	verdicts = map[netip.Addr]bgp.Verdict{}
	w.Plan(func(p *bgp.Planner) {
		for _, ip := range ips {
			if v, ok := p.Explain(ip); ok {
				verdicts[ip] = v
			}
			peers = append(peers, p.Peers(ip)...)
		}
	})
	slices.Sort(peers)
	return verdicts, slices.Compact(peers)
}

// RoutesChanged has the Services looked at that have one of the addresses.
func (w *Writer) RoutesChanged(ips []netip.Addr) {
	w.View(func(s *watch.State) {
		for _, ip := range ips {
			for _, key := range s.Users(ip) {
				w.queue.Add(key)
			}
		}
	})
}

// writeBGPStatus says to which peers this node announces a Service, or takes
// that away.
func (w *Writer) writeBGPStatus(ctx context.Context, key types.NamespacedName, peers []string) error {
	o := serviceStatus{resource: bgpstatuses, kind: "ServiceBGPStatus", name: statusName(key, w.Node), key: key,
		decided: func() { w.Log.Info("announces over BGP", "service", key.String(), "peers", peers) }}
	if len(peers) > 0 {
		o.meta = w.about(key, o.name)
		o.status = v1beta1.ServiceBGPStatusStatus{Node: w.Node, ServiceName: key.Name, ServiceNamespace: key.Namespace, Peers: peers}
	}
	return w.writeServiceStatus(ctx, o)
}

// staleRoute says whether what another node wrote of a Service outlived either.
func (w *Writer) staleRoute(ctx context.Context, key types.NamespacedName, node string) (stale bool) {
	w.View(func(s *watch.State) { stale = s.Services[key] == nil })
	return stale || w.gone(ctx, key, node)
}
