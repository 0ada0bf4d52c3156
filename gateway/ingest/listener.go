package ingest

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// owner is the object that a listener stands in: a Gateway or a ListenerSet.
type owner struct {
	kind gwv1.Kind
	name types.NamespacedName
}

// listener is a listener of a Gateway or of a ListenerSet, what is decided
// about it, and the routes that are attached to it.
type listener struct {
	spec  *gwv1.Listener
	owner owner
	// hostname in lower case; empty for any, and where the protocol has none.
	hostname string
	kinds    []gwv1.RouteGroupKind

	accepted   verdict
	conflicted verdict
	resolved   verdict

	// certificates that exist, hold a key pair and may be used.
	certificates []certificate
	// expiring says that one of them ends soon.
	expiring verdict
	// clients says how clients are known, if they are to be.
	clients *ir.ClientValidation
	// trust is what they are checked against then.
	trust
	// routes that are attached, by the domains that they have here, each with
	// the most specific of its hostnames that leads there.
	routes map[string]map[*route]string
	// kindsOf counts them by kind.
	kindsOf map[gwv1.Kind]int
	// attached counts those that are accepted too.
	attached int32
}

// supportedKinds are the kinds of routes by the protocol of a listener.
var supportedKinds = map[gwv1.ProtocolType][]gwv1.Kind{
	gwv1.HTTPProtocolType:  {httpRouteKind, grpcRouteKind},
	gwv1.HTTPSProtocolType: {httpRouteKind, grpcRouteKind},
	gwv1.TLSProtocolType:   {tlsRouteKind},
	gwv1.TCPProtocolType:   {tcpRouteKind},
	gwv1.UDPProtocolType:   {udpRouteKind},
}

// newListener decides what can be decided about a listener alone.
func newListener(x *index, g *gwv1.Gateway, o owner, spec *gwv1.Listener) *listener {
	l := &listener{
		spec: spec, owner: o, routes: map[string]map[*route]string{}, kindsOf: map[gwv1.Kind]int{},
		kinds:      []gwv1.RouteGroupKind{},
		accepted:   yes(gwv1.ListenerReasonAccepted, "The listener is accepted."),
		conflicted: no(gwv1.ListenerReasonNoConflicts, "No other listener claims the same traffic."),
		resolved:   yes(gwv1.ListenerReasonResolvedRefs, "All references are resolved."),
	}
	kinds, ok := supportedKinds[spec.Protocol]
	if !ok {
		l.accepted = no(gwv1.ListenerReasonUnsupportedProtocol,
			fmt.Sprintf("Protocol %s is not supported; HTTP, HTTPS, TLS, TCP and UDP are.", spec.Protocol))
		return l
	}
	if spec.Hostname != nil && spec.Protocol != gwv1.TCPProtocolType && spec.Protocol != gwv1.UDPProtocolType {
		l.hostname = strings.ToLower(string(*spec.Hostname))
	}
	for _, k := range kinds {
		l.kinds = append(l.kinds, gwv1.RouteGroupKind{Group: ptr(gwv1.Group(gwv1.GroupName)), Kind: k})
	}
	l.addTLS(x, g)
	if ar := spec.AllowedRoutes; ar != nil && len(ar.Kinds) > 0 {
		l.restrictKinds(ar.Kinds)
	}
	return l
}

func ptr[T any](v T) *T { return &v }

// restrictKinds keeps the kinds that the listener asks for and we support.
func (l *listener) restrictKinds(asked []gwv1.RouteGroupKind) {
	supported := l.kinds
	l.kinds = []gwv1.RouteGroupKind{}
	for _, k := range asked {
		group := gwv1.Group(gwv1.GroupName)
		if k.Group != nil {
			group = *k.Group
		}
		i := slices.IndexFunc(supported, func(s gwv1.RouteGroupKind) bool { return *s.Group == group && s.Kind == k.Kind })
		if i < 0 {
			if l.resolved.ok {
				l.resolved = no(gwv1.ListenerReasonInvalidRouteKinds,
					fmt.Sprintf("Routes of kind %s of group %q are not supported on this listener.", k.Kind, group))
			}
			continue
		}
		if !slices.ContainsFunc(l.kinds, func(s gwv1.RouteGroupKind) bool { return s.Kind == k.Kind }) {
			l.kinds = append(l.kinds, supported[i])
		}
	}
}

// passthrough says whether TLS goes to the backend as it comes.
func (l *listener) passthrough() bool {
	return l.spec.Protocol == gwv1.TLSProtocolType && l.spec.TLS != nil && l.spec.TLS.Mode != nil && *l.spec.TLS.Mode == gwv1.TLSModePassthrough
}

// terminates says whether the listener needs a certificate.
func (l *listener) terminates() bool {
	return l.spec.Protocol == gwv1.HTTPSProtocolType || l.spec.Protocol == gwv1.TLSProtocolType && !l.passthrough()
}

// servable says whether Envoy can be given the listener.
func (l *listener) servable() bool {
	return l.accepted.ok && (!l.terminates() || len(l.certificates) > 0)
}

// protocol of the Envoy listener that serves the listener.
func (l *listener) protocol() ir.Protocol {
	if l.spec.Protocol == gwv1.HTTPSProtocolType {
		return ir.TLS
	}
	return ir.Protocol(l.spec.Protocol)
}

// allowsKind says whether routes of a kind of the Gateway API's group may
// attach.
func (l *listener) allowsKind(kind gwv1.Kind) bool {
	return slices.ContainsFunc(l.kinds, func(k gwv1.RouteGroupKind) bool {
		return *k.Group == gwv1.GroupName && k.Kind == kind
	})
}

// allowsNamespace says whether routes of a namespace may attach.
func (l *listener) allowsNamespace(x *index, route string) bool {
	from, selector := gwv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if ar := l.spec.AllowedRoutes; ar != nil && ar.Namespaces != nil {
		if ar.Namespaces.From != nil {
			from = *ar.Namespaces.From
		}
		selector = ar.Namespaces.Selector
	}
	return x.selects(from, selector, l.owner.name.Namespace, route)
}

// selects says whether a namespace is one of those that are admitted to an
// object in another.
func (x *index) selects(from gwv1.FromNamespaces, selector *metav1.LabelSelector, own, namespace string) bool {
	switch from {
	case gwv1.NamespacesFromAll:
		return true
	case gwv1.NamespacesFromSame:
		return own == namespace
	case gwv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		has, ok := x.labels(namespace)
		return err == nil && ok && s.Matches(labels.Set(has))
	default:
		return false
	}
}

// status renders the listener's status. parent and programmed are whether the
// Gateway is accepted and the listener's port is served.
func (l *listener) status(parent, programmed bool, generation int64) gwv1.ListenerStatus {
	p := no(gwv1.ListenerReasonPending, "The Envoys have not acknowledged the listener yet.")
	switch {
	case !parent:
		p = no(gwv1.ListenerReasonInvalid, "The Gateway is not accepted.")
	case l.conflicted.ok:
		p = verdict{false, l.conflicted.reason, l.conflicted.message}
	case !l.accepted.ok:
		p = no(gwv1.ListenerReasonInvalid, "The listener is not accepted.")
	case !l.servable():
		p = no(gwv1.ListenerReasonInvalid, "The listener has no usable certificate.")
	case programmed:
		p = yes(gwv1.ListenerReasonProgrammed, "The Envoys have acknowledged the listener.")
	}
	out := gwv1.ListenerStatus{
		Name:           l.spec.Name,
		SupportedKinds: l.kinds,
		AttachedRoutes: l.attached,
		Conditions: []metav1.Condition{
			condition(gwv1.ListenerConditionAccepted, l.accepted, generation),
			condition(gwv1.ListenerConditionConflicted, l.conflicted, generation),
			condition(gwv1.ListenerConditionProgrammed, p, generation),
			condition(gwv1.ListenerConditionResolvedRefs, l.resolved, generation),
		},
	}
	if l.expiring.ok {
		out.Conditions = append(out.Conditions, condition(names.CertificateExpiring, l.expiring, generation))
	}
	if l.warning.ok {
		out.Conditions = append(out.Conditions, condition(names.CACertificateWarning, l.warning, generation))
	}
	return out
}
