package ingest

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// addTLS decides about the TLS of a listener.
func (l *listener) addTLS(x *index, g *gwv1.Gateway) {
	if l.spec.Protocol == gwv1.HTTPSProtocolType && l.spec.TLS != nil && l.spec.TLS.Mode != nil && *l.spec.TLS.Mode != gwv1.TLSModeTerminate {
		l.accepted = no(gwv1.ListenerReasonUnsupportedValue, fmt.Sprintf("TLS mode %s is not supported for HTTPS.", *l.spec.TLS.Mode))
		return
	}
	if !l.terminates() {
		return
	}
	l.certificates, l.resolved = x.certificates(l.owner, l.spec.TLS)
	l.expiring = x.expiring(l.certificates)
	if l.spec.Protocol != gwv1.HTTPSProtocolType {
		return
	}
	if v := frontendValidation(g, l.spec.Port); v != nil {
		l.validate(x, g, v)
	}
}

// frontendValidation returns how clients of a port are to be known; nil: they
// are not.
func frontendValidation(g *gwv1.Gateway, port gwv1.PortNumber) *gwv1.FrontendTLSValidation {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return nil
	}
	for i := range g.Spec.TLS.Frontend.PerPort {
		if p := &g.Spec.TLS.Frontend.PerPort[i]; p.Port == port {
			return p.TLS.Validation
		}
	}
	return g.Spec.TLS.Frontend.Default.Validation
}

// validate resolves the CA certificates that clients are checked against.
// Without any that is usable, the listener is not accepted: it would let
// everybody in.
func (l *listener) validate(x *index, g *gwv1.Gateway, v *gwv1.FrontendTLSValidation) {
	out := &ir.ClientValidation{Optional: v.Mode == gwv1.AllowInsecureFallback}
	var all []authority
	first := no(gwv1.ListenerReasonInvalidCACertificateRef, "The Gateway names no CA certificate for clients.")
	for i, ref := range v.CACertificateRefs {
		name := types.NamespacedName{Namespace: g.Namespace, Name: string(ref.Name)}
		if ref.Namespace != nil {
			name.Namespace = string(*ref.Namespace)
		}
		refused := x.refuse(reference{
			fromGroup: gwv1.GroupName, fromKind: "Gateway", fromNamespace: g.Namespace,
			toGroup: string(ref.Group), toKind: string(ref.Kind), toNamespace: name.Namespace, toName: name.Name,
		})
		var found []authority
		if refused == nil {
			found, refused = x.authorities(authorityReference{group: string(ref.Group), kind: string(ref.Kind), name: name},
				string(gwv1.ListenerReasonInvalidCACertificateKind), string(gwv1.ListenerReasonInvalidCACertificateRef))
		}
		switch {
		case refused == nil:
			out.Authorities = append(out.Authorities, name)
			all = append(all, found...)
			continue
		case i == 0 || len(out.Authorities) == i:
			first = *refused
		}
		if l.resolved.ok {
			l.resolved = *refused
		}
	}
	if len(out.Authorities) == 0 {
		l.accepted = no(gwv1.ListenerReasonNoValidCACertificate, first.message)
		l.resolved = first
		return
	}
	l.clients = out
	l.trust = x.hold(all, &l.resolved)
}

// certificates resolves the certificateRefs of a listener. Those that can be
// used are returned even where others cannot; so are those that are not valid
// now, which are no reason to leave the clients without an answer.
func (x *index) certificates(o owner, tls *gwv1.ListenerTLSConfig) ([]certificate, verdict) {
	v := yes(gwv1.ListenerReasonResolvedRefs, "All references are resolved.")
	if tls == nil || len(tls.CertificateRefs) == 0 {
		return nil, no(gwv1.ListenerReasonInvalidCertificateRef, "The listener names no certificate.")
	}
	var out []certificate
	for i := range tls.CertificateRefs {
		c, refused := x.certificate(o, &tls.CertificateRefs[i], string(gwv1.ListenerReasonInvalidCertificateRef))
		if refused == nil {
			refused = x.invalid(c)
			if !slices.ContainsFunc(out, func(o certificate) bool { return o.name == c.name }) {
				out = append(out, c)
			}
		}
		if refused != nil && v.ok {
			v = *refused
		}
	}
	return out, v
}

// certificate follows a reference to a key pair. What is not one is refused
// with the reason.
func (x *index) certificate(o owner, ref *gwv1.SecretObjectReference, invalid string) (certificate, *verdict) {
	name := types.NamespacedName{Namespace: o.name.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	refuse := func(format string, args ...any) (certificate, *verdict) {
		return certificate{}, &verdict{false, invalid, fmt.Sprintf(format, args...)}
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != "Secret" {
		return refuse("Certificate %s is not a Secret.", name)
	}
	if v := x.refuse(reference{
		fromGroup: gwv1.GroupName, fromKind: string(o.kind), fromNamespace: o.name.Namespace,
		toKind: "Secret", toNamespace: name.Namespace, toName: name.Name,
	}); v != nil {
		return certificate{}, v
	}
	s := x.secret(name)
	if s == nil {
		return refuse("Secret %s does not exist.", name)
	}
	c, err := Certificate(s)
	if err != nil {
		return refuse("%s.", upperFirst(err.Error()))
	}
	return certificate{name, validity{c.NotBefore, c.NotAfter}}, nil
}

// refuse returns why a reference to another namespace may not be followed; nil:
// it may.
func (x *index) refuse(r reference) *verdict {
	if x.permitted(r) {
		return nil
	}
	v := no(gwv1.ListenerReasonRefNotPermitted, fmt.Sprintf("No ReferenceGrant in namespace %s lets %ss of namespace %s use %s %s.",
		r.toNamespace, r.fromKind, r.fromNamespace, r.toKind, r.toName))
	return &v
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
