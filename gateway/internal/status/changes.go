package status

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// change is an object with the status that it should have.
type change struct {
	object client.Object
	// turns tells what that says which the one before did not.
	turns func() []turn
}

// change returns what is to be written; nil where the object has its status
// already, or is no more.
func (t *Task) change(ctx context.Context, k key, wanted any) (*change, error) {
	now := metav1.NewTime(t.Now().Truncate(1e9))
	switch k.kind {
	case "GatewayClass":
		return compare(ctx, t, k, &gwv1.GatewayClass{}, func(o *gwv1.GatewayClass) *gwv1.GatewayClassStatus { return &o.Status },
			func(old gwv1.GatewayClassStatus) gwv1.GatewayClassStatus {
				return whole(old, wanted, now, gatewayClass)
			})
	case "Gateway":
		return compare(ctx, t, k, &gwv1.Gateway{}, func(o *gwv1.Gateway) *gwv1.GatewayStatus { return &o.Status },
			func(old gwv1.GatewayStatus) gwv1.GatewayStatus { return whole(old, wanted, now, gateway) })
	case "ListenerSet":
		return compare(ctx, t, k, &gwv1.ListenerSet{}, func(o *gwv1.ListenerSet) *gwv1.ListenerSetStatus { return &o.Status },
			func(old gwv1.ListenerSetStatus) gwv1.ListenerSetStatus { return whole(old, wanted, now, listenerSet) })
	case "BackendTLSPolicy":
		ours, _ := wanted.([]gwv1.PolicyAncestorStatus)
		return compare(ctx, t, k, &gwv1.BackendTLSPolicy{}, func(o *gwv1.BackendTLSPolicy) *[]gwv1.PolicyAncestorStatus { return &o.Status.Ancestors },
			func(old []gwv1.PolicyAncestorStatus) []gwv1.PolicyAncestorStatus {
				return ancestors(t.Controller, old, ours, now)
			})
	}
	ours, _ := wanted.([]gwv1.RouteParentStatus)
	merge := func(old []gwv1.RouteParentStatus) []gwv1.RouteParentStatus {
		return parents(t.Controller, old, ours, now)
	}
	switch k.kind {
	case "HTTPRoute":
		return compare(ctx, t, k, &gwv1.HTTPRoute{}, func(o *gwv1.HTTPRoute) *[]gwv1.RouteParentStatus { return &o.Status.Parents }, merge)
	case "GRPCRoute":
		return compare(ctx, t, k, &gwv1.GRPCRoute{}, func(o *gwv1.GRPCRoute) *[]gwv1.RouteParentStatus { return &o.Status.Parents }, merge)
	case "TLSRoute":
		return compare(ctx, t, k, &gwv1.TLSRoute{}, func(o *gwv1.TLSRoute) *[]gwv1.RouteParentStatus { return &o.Status.Parents }, merge)
	case "TCPRoute":
		return compare(ctx, t, k, &gwv1.TCPRoute{}, func(o *gwv1.TCPRoute) *[]gwv1.RouteParentStatus { return &o.Status.Parents }, merge)
	case "UDPRoute":
		return compare(ctx, t, k, &gwv1.UDPRoute{}, func(o *gwv1.UDPRoute) *[]gwv1.RouteParentStatus { return &o.Status.Parents }, merge)
	}
	return nil, nil
}

// whole merges a status that is ours as a whole. Without one wanted, what
// stands there stays: the object is nobody's of ours any more, and whose it is
// now will say so.
func whole[S any](old S, wanted any, now metav1.Time, merge func(old, wanted S, now metav1.Time) S) S {
	if s, ok := wanted.(S); ok {
		return merge(old, s, now)
	}
	return old
}

// compare reads an object and merges its status.
func compare[T any, S any, P interface {
	*T
	client.Object
}](ctx context.Context, t *Task, k key, o P, status func(P) *S, merge func(old S) S) (*change, error) {
	if err := t.Client.Get(ctx, k.name, o); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("reading %s: %w", k, err)
	}
	at := status(o)
	now := merge(*at)
	if equality.Semantic.DeepEqual(now, *at) {
		return nil, nil
	}
	before := *at
	*at = now
	return &change{o, func() []turn { return decided(t.Controller, before, now) }}, nil
}
