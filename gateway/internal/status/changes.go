package status

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// change is one status to write.
type change struct {
	object client.Object // with the new status
	what   string
}

// comparison collects what is not as the output says.
type comparison struct {
	client  client.Client
	now     metav1.Time
	changes []change
}

// changes returns the objects whose status is not as the output says.
func (t *Task) changes(ctx context.Context, out ingest.Output) ([]change, error) {
	c := &comparison{client: t.Client, now: metav1.NewTime(t.Now().Truncate(1e9))}
	parents := map[gwv1.Kind]map[types.NamespacedName][]gwv1.RouteParentStatus{}
	for _, s := range out.RouteStatuses {
		if parents[s.Kind] == nil {
			parents[s.Kind] = map[types.NamespacedName][]gwv1.RouteParentStatus{}
		}
		parents[s.Kind][s.Name] = s.Parents
	}
	for _, compare := range []func(context.Context) error{
		func(ctx context.Context) error { return c.gatewayClasses(ctx, out.GatewayClassStatuses) },
		func(ctx context.Context) error { return c.gateways(ctx, out.GatewayStatuses) },
		func(ctx context.Context) error { return c.listenerSets(ctx, out.ListenerSetStatuses) },
		func(ctx context.Context) error { return c.policies(ctx, out.PolicyStatuses) },
		func(ctx context.Context) error {
			return routes(ctx, c, &gwv1.HTTPRouteList{}, func(l *gwv1.HTTPRouteList) []gwv1.HTTPRoute { return l.Items },
				func(r *gwv1.HTTPRoute) *gwv1.RouteStatus { return &r.Status.RouteStatus }, "HTTPRoute", parents)
		},
		func(ctx context.Context) error {
			return routes(ctx, c, &gwv1.GRPCRouteList{}, func(l *gwv1.GRPCRouteList) []gwv1.GRPCRoute { return l.Items },
				func(r *gwv1.GRPCRoute) *gwv1.RouteStatus { return &r.Status.RouteStatus }, "GRPCRoute", parents)
		},
		func(ctx context.Context) error {
			return routes(ctx, c, &gwv1.TLSRouteList{}, func(l *gwv1.TLSRouteList) []gwv1.TLSRoute { return l.Items },
				func(r *gwv1.TLSRoute) *gwv1.RouteStatus { return &r.Status.RouteStatus }, "TLSRoute", parents)
		},
		func(ctx context.Context) error {
			return routes(ctx, c, &gwv1.TCPRouteList{}, func(l *gwv1.TCPRouteList) []gwv1.TCPRoute { return l.Items },
				func(r *gwv1.TCPRoute) *gwv1.RouteStatus { return &r.Status.RouteStatus }, "TCPRoute", parents)
		},
		func(ctx context.Context) error {
			return routes(ctx, c, &gwv1.UDPRouteList{}, func(l *gwv1.UDPRouteList) []gwv1.UDPRoute { return l.Items },
				func(r *gwv1.UDPRoute) *gwv1.RouteStatus { return &r.Status.RouteStatus }, "UDPRoute", parents)
		},
	} {
		if err := compare(ctx); err != nil {
			return nil, err
		}
	}
	return c.changes, nil
}

func (c *comparison) list(ctx context.Context, into client.ObjectList) error {
	if err := c.client.List(ctx, into, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing %T: %w", into, err)
	}
	return nil
}

func (c *comparison) gatewayClasses(ctx context.Context, wanted []ingest.GatewayClassStatus) error {
	var list gwv1.GatewayClassList
	if err := c.list(ctx, &list); err != nil {
		return err
	}
	live := byName(list.Items, func(o *gwv1.GatewayClass) string { return o.Name })
	for _, w := range wanted {
		if o := live[w.Name]; o != nil {
			if s := gatewayClass(o.Status, w.Status, c.now); !equality.Semantic.DeepEqual(s, o.Status) {
				o = o.DeepCopy()
				o.Status = s
				c.changes = append(c.changes, change{o, "GatewayClass " + w.Name})
			}
		}
	}
	return nil
}

func (c *comparison) gateways(ctx context.Context, wanted []ingest.GatewayStatus) error {
	var list gwv1.GatewayList
	if err := c.list(ctx, &list); err != nil {
		return err
	}
	live := byName(list.Items, func(o *gwv1.Gateway) string { return o.Namespace + "/" + o.Name })
	for _, w := range wanted {
		if o := live[w.Name.String()]; o != nil {
			if s := gateway(o.Status, w.Status, c.now); !equality.Semantic.DeepEqual(s, o.Status) {
				o = o.DeepCopy()
				o.Status = s
				c.changes = append(c.changes, change{o, "Gateway " + w.Name.String()})
			}
		}
	}
	return nil
}

func (c *comparison) listenerSets(ctx context.Context, wanted []ingest.ListenerSetStatus) error {
	var list gwv1.ListenerSetList
	if err := c.list(ctx, &list); err != nil {
		return err
	}
	live := byName(list.Items, func(o *gwv1.ListenerSet) string { return o.Namespace + "/" + o.Name })
	for _, w := range wanted {
		if o := live[w.Name.String()]; o != nil {
			if s := listenerSet(o.Status, w.Status, c.now); !equality.Semantic.DeepEqual(s, o.Status) {
				o = o.DeepCopy()
				o.Status = s
				c.changes = append(c.changes, change{o, "ListenerSet " + w.Name.String()})
			}
		}
	}
	return nil
}

func (c *comparison) policies(ctx context.Context, statuses []ingest.PolicyStatus) error {
	var list gwv1.BackendTLSPolicyList
	if err := c.list(ctx, &list); err != nil {
		return err
	}
	wanted := map[types.NamespacedName][]gwv1.PolicyAncestorStatus{}
	for _, s := range statuses {
		wanted[s.Name] = s.Ancestors
	}
	for i := range list.Items {
		live := &list.Items[i]
		name := types.NamespacedName{Namespace: live.Namespace, Name: live.Name}
		if s := ancestors(names.GatewayController, live.Status.Ancestors, wanted[name], c.now); !equality.Semantic.DeepEqual(s, live.Status.Ancestors) {
			o := live.DeepCopy()
			o.Status.Ancestors = s
			c.changes = append(c.changes, change{o, "BackendTLSPolicy " + name.String()})
		}
	}
	return nil
}

// routes compares the routes of one kind.
func routes[L client.ObjectList, T any, P interface {
	*T
	client.Object
}](ctx context.Context, c *comparison, list L, items func(L) []T, status func(P) *gwv1.RouteStatus,
	kind gwv1.Kind, wanted map[gwv1.Kind]map[types.NamespacedName][]gwv1.RouteParentStatus,
) error {
	if err := c.list(ctx, list); err != nil {
		return err
	}
	all := items(list)
	for i := range all {
		live := P(&all[i])
		name := client.ObjectKeyFromObject(live)
		old := status(live).Parents
		if s := parents(names.GatewayController, old, wanted[kind][name], c.now); !equality.Semantic.DeepEqual(s, old) {
			o := live.DeepCopyObject().(P)
			status(o).Parents = s
			c.changes = append(c.changes, change{o, string(kind) + " " + name.String()})
		}
	}
	return nil
}

func byName[T any](items []T, name func(*T) string) map[string]*T {
	out := make(map[string]*T, len(items))
	for i := range items {
		out[name(&items[i])] = &items[i]
	}
	return out
}
