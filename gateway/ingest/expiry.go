package ingest

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// validity is when a certificate is valid.
type validity struct {
	notBefore, notAfter time.Time
}

// certificate is a key pair that may be used.
type certificate struct {
	name types.NamespacedName
	validity
}

// secrets returns the names of the certificates.
func secrets(certificates []certificate) []types.NamespacedName {
	var out []types.NamespacedName
	for _, c := range certificates {
		out = append(out, c.name)
	}
	return out
}

// maxNotice is how long before its end a certificate is said to expire, at the
// most. One of less than four times as long is said to after three quarters of
// its life, when whoever renews it is late.
const maxNotice = 7 * 24 * time.Hour

// noticed is when a certificate is said to expire.
func (v validity) noticed() time.Time {
	return v.notAfter.Add(-min(maxNotice, v.notAfter.Sub(v.notBefore)/4))
}

// age is how the validity of a certificate stands to the time; the greater the
// worse.
type age uint8

const (
	// valid: and not to end soon.
	valid age = iota
	expiring
	notYetValid
	expired
)

func (x *index) age(v validity) age {
	switch {
	case !x.before(v.notAfter):
		return expired
	case !x.now.IsZero() && x.before(v.notBefore):
		return notYetValid
	case !x.before(v.noticed()):
		return expiring
	default:
		return valid
	}
}

// invalid returns what is to be said of a certificate that has expired, or
// whose time has not come; nil: it is valid. That it is not is no reason to show
// no certificate: a client that minds does not connect, and a connection that is
// refused tells nobody why.
func (x *index) invalid(c certificate) *verdict {
	var v verdict
	switch x.age(c.validity) {
	case expired:
		v = no(reason.CertificateExpired, fmt.Sprintf("The certificate in Secret %s expired at %s; it is in use all the same.", c.name, written(c.notAfter)))
	case notYetValid:
		v = no(reason.CertificateNotYetValid, fmt.Sprintf("The certificate in Secret %s is valid from %s; it is in use all the same.", c.name, written(c.notBefore)))
	default:
		return nil
	}
	return &v
}

// expiring says of the first of the certificates that expires soon that it
// does; none does where it is not ok.
func (x *index) expiring(certificates []certificate) verdict {
	for _, c := range certificates {
		if x.age(c.validity) == expiring {
			return yes(reason.CertificateExpiring, fmt.Sprintf("The certificate in Secret %s expires at %s.", c.name, written(c.notAfter)))
		}
	}
	return verdict{}
}

func written(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// shown returns the certificates that the Gateway's listeners show, and those
// that they check clients against.
func (g *gateway) shown() GatewayCertificates {
	out := GatewayCertificates{Name: g.name}
	if !g.accepted.ok {
		return out
	}
	add := func(prefix string, listeners []*listener) {
		for _, l := range listeners {
			if !l.servable() {
				continue
			}
			for _, c := range l.certificates {
				out.Listeners = append(out.Listeners, ListenerCertificate{
					Listener: prefix + string(l.spec.Name), Secret: c.name, NotBefore: c.notBefore, NotAfter: c.notAfter,
				})
			}
			if l.clients != nil {
				out.Authorities = append(out.Authorities, ends(prefix+string(l.spec.Name), l.authorities)...)
			}
		}
	}
	add("", g.listeners)
	for _, s := range g.sets {
		add(s.name.String()+"/", s.listeners)
	}
	return out
}
