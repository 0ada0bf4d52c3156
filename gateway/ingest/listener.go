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
)

// listener is a listener of a Gateway, what is decided about it, and the
// routes that are attached to it.
type listener struct {
	spec *gwv1.Listener
	// hostname in lower case, empty for any.
	hostname string
	kinds    []gwv1.RouteGroupKind

	accepted   verdict
	conflicted verdict
	resolved   verdict

	// certificates that exist, hold a key pair and may be used.
	certificates []types.NamespacedName
	// routes that are attached, each once, in no order.
	routes []*httpRoute
	// attached counts the routes that are attached and accepted.
	attached int32
}

// newListener decides what can be decided about a listener alone.
func newListener(x *index, g *gwv1.Gateway, spec *gwv1.Listener) *listener {
	l := &listener{
		spec:       spec,
		kinds:      []gwv1.RouteGroupKind{},
		accepted:   yes(gwv1.ListenerReasonAccepted, "The listener is accepted."),
		conflicted: no(gwv1.ListenerReasonNoConflicts, "No other listener claims the same traffic."),
		resolved:   yes(gwv1.ListenerReasonResolvedRefs, "All references are resolved."),
	}
	if spec.Hostname != nil {
		l.hostname = strings.ToLower(string(*spec.Hostname))
	}
	switch spec.Protocol {
	case gwv1.HTTPProtocolType:
	case gwv1.HTTPSProtocolType:
		l.accepted = acceptTLS(g, spec)
		if l.accepted.ok {
			l.certificates, l.resolved = x.certificates(g, spec.TLS)
		}
	default:
		l.accepted = no(gwv1.ListenerReasonUnsupportedProtocol,
			fmt.Sprintf("Protocol %s is not supported; HTTP and HTTPS are.", spec.Protocol))
		return l
	}
	l.kinds = []gwv1.RouteGroupKind{{Group: ptr(gwv1.Group(gwv1.GroupName)), Kind: "HTTPRoute"}}
	if ar := spec.AllowedRoutes; ar != nil && len(ar.Kinds) > 0 {
		l.restrictKinds(ar.Kinds)
	}
	return l
}

func ptr[T any](v T) *T { return &v }

// acceptTLS refuses what would be less secure if it were ignored.
func acceptTLS(g *gwv1.Gateway, spec *gwv1.Listener) verdict {
	if spec.TLS != nil && spec.TLS.Mode != nil && *spec.TLS.Mode != gwv1.TLSModeTerminate {
		return no(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("TLS mode %s is not supported for HTTPS.", *spec.TLS.Mode))
	}
	if g.Spec.TLS != nil && g.Spec.TLS.Frontend != nil {
		return no(gwv1.ListenerReasonUnsupportedValue, "Validation of client certificates (spec.tls.frontend) is not supported.")
	}
	return yes(gwv1.ListenerReasonAccepted, "The listener is accepted.")
}

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

// certificates resolves the certificateRefs of a listener. Those that can be
// used are returned even where others cannot.
func (x *index) certificates(g *gwv1.Gateway, tls *gwv1.ListenerTLSConfig) ([]types.NamespacedName, verdict) {
	v := yes(gwv1.ListenerReasonResolvedRefs, "All references are resolved.")
	if tls == nil || len(tls.CertificateRefs) == 0 {
		return nil, no(gwv1.ListenerReasonInvalidCertificateRef, "The listener names no certificate.")
	}
	var out []types.NamespacedName
	for i := range tls.CertificateRefs {
		name, refused := x.certificate(g, &tls.CertificateRefs[i])
		switch {
		case refused == nil:
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		case v.ok:
			v = *refused
		}
	}
	return out, v
}

func (x *index) certificate(g *gwv1.Gateway, ref *gwv1.SecretObjectReference) (types.NamespacedName, *verdict) {
	name := types.NamespacedName{Namespace: g.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	refuse := func(reason gwv1.ListenerConditionReason, format string, args ...any) (types.NamespacedName, *verdict) {
		v := no(reason, fmt.Sprintf(format, args...))
		return name, &v
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != "Secret" {
		return refuse(gwv1.ListenerReasonInvalidCertificateRef, "Certificate %s is not a Secret.", name)
	}
	if !x.permitted(reference{
		fromGroup: gwv1.GroupName, fromKind: "Gateway", fromNamespace: g.Namespace,
		toKind: "Secret", toNamespace: name.Namespace, toName: name.Name,
	}) {
		return refuse(gwv1.ListenerReasonRefNotPermitted,
			"No ReferenceGrant in namespace %s lets Gateways of namespace %s use Secret %s.", name.Namespace, g.Namespace, name.Name)
	}
	s := x.secrets[name]
	if s == nil {
		return refuse(gwv1.ListenerReasonInvalidCertificateRef, "Secret %s does not exist.", name)
	}
	if _, err := Certificate(s); err != nil {
		return refuse(gwv1.ListenerReasonInvalidCertificateRef, "%s.", upperFirst(err.Error()))
	}
	return name, nil
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// findConflicts marks the listeners of one Gateway that cannot be told apart.
// None of them is accepted: there is no winner (GatewaySpec.Listeners).
// Listeners of protocols that we do not support take no part.
func findConflicts(ls []*listener) {
	for i, a := range ls {
		for j, b := range ls {
			if i == j || a.spec.Port != b.spec.Port ||
				a.accepted.reason == string(gwv1.ListenerReasonUnsupportedProtocol) ||
				b.accepted.reason == string(gwv1.ListenerReasonUnsupportedProtocol) {
				continue
			}
			switch {
			case a.spec.Protocol != b.spec.Protocol:
				a.conflicted = yes(gwv1.ListenerReasonProtocolConflict,
					fmt.Sprintf("Listener %s has another protocol on port %d.", b.spec.Name, a.spec.Port))
			case a.hostname == b.hostname && !a.conflicted.ok:
				a.conflicted = yes(gwv1.ListenerReasonHostnameConflict,
					fmt.Sprintf("Listener %s has the same hostname on port %d.", b.spec.Name, a.spec.Port))
			}
		}
	}
	for _, l := range ls {
		if l.conflicted.ok {
			l.accepted = verdict{false, l.conflicted.reason, l.conflicted.message}
		}
	}
}

// servable says whether Envoy can be given the listener.
func (l *listener) servable() bool {
	return l.accepted.ok && (l.spec.Protocol != gwv1.HTTPSProtocolType || len(l.certificates) > 0)
}

func (l *listener) protocol() ir.Protocol { return ir.Protocol(l.spec.Protocol) }

// allowsKind says whether routes of a kind of the Gateway API's group may
// attach.
func (l *listener) allowsKind(kind gwv1.Kind) bool {
	return slices.ContainsFunc(l.kinds, func(k gwv1.RouteGroupKind) bool {
		return *k.Group == gwv1.GroupName && k.Kind == kind
	})
}

// allowsNamespace says whether routes of a namespace may attach.
func (l *listener) allowsNamespace(x *index, gateway, route string) bool {
	from, selector := gwv1.NamespacesFromSame, (*metav1.LabelSelector)(nil)
	if ar := l.spec.AllowedRoutes; ar != nil && ar.Namespaces != nil {
		if ar.Namespaces.From != nil {
			from = *ar.Namespaces.From
		}
		selector = ar.Namespaces.Selector
	}
	switch from {
	case gwv1.NamespacesFromAll:
		return true
	case gwv1.NamespacesFromSame:
		return gateway == route
	case gwv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		n := x.namespaces[route]
		return err == nil && n != nil && s.Matches(labels.Set(n.Labels))
	default:
		return false
	}
}

// status renders the listener's status. gatewayAccepted and programmed are
// those of the Gateway and of the listener's port.
func (l *listener) status(gatewayAccepted, programmed bool, generation int64) gwv1.ListenerStatus {
	p := no(gwv1.ListenerReasonPending, "The Envoys have not acknowledged the listener yet.")
	switch {
	case !gatewayAccepted:
		p = no(gwv1.ListenerReasonInvalid, "The Gateway is not accepted.")
	case !l.accepted.ok:
		p = no(gwv1.ListenerReasonInvalid, "The listener is not accepted.")
	case !l.servable():
		p = no(gwv1.ListenerReasonInvalid, "The listener has no usable certificate.")
	case programmed:
		p = yes(gwv1.ListenerReasonProgrammed, "The Envoys have acknowledged the listener.")
	}
	return gwv1.ListenerStatus{
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
}
