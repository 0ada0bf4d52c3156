package status

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
)

// key names an object with a status.
type key struct {
	kind gwv1.Kind
	name types.NamespacedName
}

func (k key) String() string { return string(k.kind) + " " + k.name.String() }

// Cells hold what each object's status should say of ours, and which objects
// are to be compared with that. They are kept on every replica, so that one
// that becomes the leader knows. They are safe for concurrent use.
type Cells struct {
	mu sync.Mutex
	// wanted is the status without times, of the kind's own type; without an
	// entry nothing of ours is to stand there.
	wanted map[key]any
	// decided are the objects that wanted was decided for: another one of the
	// same name is decided about anew.
	decided map[key]types.UID
	stale   map[key]struct{}
	wake    chan struct{}
}

// cell is what the status of one object should say.
type cell struct {
	wanted any
	uid    types.UID
}

// NewCells returns cells that want nothing.
func NewCells() *Cells {
	return &Cells{wanted: map[key]any{}, decided: map[key]types.UID{}, stale: map[key]struct{}{}, wake: make(chan struct{}, 1)}
}

// Want takes in the statuses that are new or have changed.
func (c *Cells) Want(out *ingest.Output) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range out.GatewayClassStatuses {
		s := &out.GatewayClassStatuses[i]
		c.want(key{"GatewayClass", types.NamespacedName{Name: s.Name}}, s.Status, true)
	}
	for i := range out.GatewayStatuses {
		s := &out.GatewayStatuses[i]
		c.want(key{"Gateway", s.Name}, s.Status, true)
	}
	for i := range out.ListenerSetStatuses {
		s := &out.ListenerSetStatuses[i]
		c.want(key{"ListenerSet", s.Name}, s.Status, true)
	}
	for i := range out.RouteStatuses {
		s := &out.RouteStatuses[i]
		c.want(key{s.Kind, s.Name}, s.Parents, s.Parents != nil)
	}
	for i := range out.PolicyStatuses {
		s := &out.PolicyStatuses[i]
		c.want(key{"BackendTLSPolicy", s.Name}, s.Ancestors, s.Ancestors != nil)
	}
	c.signal()
}

func (c *Cells) want(k key, v any, there bool) {
	if there {
		c.wanted[k] = v
	} else {
		delete(c.wanted, k)
	}
	c.stale[k] = struct{}{}
}

// Decided says that what is wanted now was decided with this object, or, where it
// is not there, without it. It follows the Want of that decision: an object that
// is deleted and made anew must not get the status of the one before.
func (c *Cells) Decided(object client.Object, there bool) {
	k := key{kindOf(object), client.ObjectKeyFromObject(object)}
	if k.kind == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !there {
		delete(c.wanted, k)
		delete(c.decided, k)
		return
	}
	if uid := object.GetUID(); c.decided[k] != uid {
		c.decided[k] = uid
		c.stale[k] = struct{}{}
		c.signal()
	}
}

// Touch says that somebody, perhaps we, may have changed an object's status.
func (c *Cells) Touch(object client.Object) {
	k := key{kindOf(object), client.ObjectKeyFromObject(object)}
	if k.kind == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale[k] = struct{}{}
	c.signal()
}

func kindOf(object client.Object) gwv1.Kind {
	switch object.(type) {
	case *gwv1.GatewayClass:
		return "GatewayClass"
	case *gwv1.Gateway:
		return "Gateway"
	case *gwv1.ListenerSet:
		return "ListenerSet"
	case *gwv1.HTTPRoute:
		return "HTTPRoute"
	case *gwv1.GRPCRoute:
		return "GRPCRoute"
	case *gwv1.TLSRoute:
		return "TLSRoute"
	case *gwv1.TCPRoute:
		return "TCPRoute"
	case *gwv1.UDPRoute:
		return "UDPRoute"
	case *gwv1.BackendTLSPolicy:
		return "BackendTLSPolicy"
	default:
		return ""
	}
}

func (c *Cells) signal() {
	if len(c.stale) == 0 {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be compared, and with what.
func (c *Cells) take() map[key]cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[key]cell, len(c.stale))
	for k := range c.stale {
		out[k] = cell{c.wanted[k], c.decided[k]}
	}
	clear(c.stale)
	return out
}

// again has objects compared once more, when the caller asks for it.
func (c *Cells) again(keys []key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		c.stale[k] = struct{}{}
	}
}
