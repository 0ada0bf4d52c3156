package ingest

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// authority is a CA certificate that peers are checked against.
type authority struct {
	configMap types.NamespacedName
	subject   string
	validity
}

// trust is what peers are checked against, and what is said of it.
type trust struct {
	authorities []authority
	// warning is there, and ok, where some CA certificates are not valid or end
	// soon.
	warning verdict
}

// hold holds the CA certificates against the time. That some are not valid is a
// warning: Envoy checks peers against the others. Where none is, it refuses
// every peer, and that goes into ResolvedRefs, if nothing stands there. They
// are in use all the same: with none, it would check nothing.
func (x *index) hold(all []authority, resolved *verdict) trust {
	reasons := map[age]reason.Reason{
		expiring: reason.CACertificateExpiring, notYetValid: reason.CACertificateNotYetValid, expired: reason.CACertificateExpired,
	}
	worst, usable, told := valid, 0, []authority(nil)
	for _, a := range all {
		age := x.age(a.validity)
		worst = max(worst, age)
		if age <= expiring {
			usable++
		}
		if age != valid {
			told = append(told, a)
		}
	}
	out := trust{authorities: all}
	if worst == valid {
		return out
	}
	parts := excerpt.Parts(told, maxTold, func(a authority) string { return a.tell(x.age(a.validity)) })
	out.warning = yes(reasons[worst], fmt.Sprintf("CA certificate %s. Valid now: %d of %d.", strings.Join(parts, "; "), usable, len(all)))
	if usable == 0 && resolved.ok {
		*resolved = no(out.warning.reason, out.warning.message)
		out.warning = verdict{}
	}
	return out
}

// maxTold is how many CA certificates a message names, and maxSubject how many
// characters of a name, which is as long as who made it wants.
const (
	maxTold    = 4
	maxSubject = 100
)

func (a *authority) tell(g age) string {
	name := fmt.Sprintf("%.*q in ConfigMap %s", maxSubject, a.subject, a.configMap)
	switch g {
	case expired:
		return fmt.Sprintf("%s expired at %s", name, written(a.notAfter))
	case notYetValid:
		return fmt.Sprintf("%s is valid from %s", name, written(a.notBefore))
	default:
		return fmt.Sprintf("%s expires at %s", name, written(a.notAfter))
	}
}

// ends returns the CA certificate that ends last and, where there are several,
// the one that ends first.
func ends(listener string, all []authority) []AuthorityCertificate {
	if len(all) == 0 {
		return nil
	}
	first, last := all[0], all[0]
	for _, a := range all {
		if a.notAfter.Before(first.notAfter) {
			first = a
		}
		if a.notAfter.After(last.notAfter) {
			last = a
		}
	}
	of := func(a authority, end CertificateEnd) AuthorityCertificate {
		return AuthorityCertificate{Listener: listener, ConfigMap: a.configMap, End: end, NotBefore: a.notBefore, NotAfter: a.notAfter}
	}
	if len(all) == 1 {
		return []AuthorityCertificate{of(last, LastEnd)}
	}
	return []AuthorityCertificate{of(first, FirstEnd), of(last, LastEnd)}
}
