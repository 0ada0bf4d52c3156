package ingest

import (
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reference is a reference from one object to another, possibly across
// namespaces. Groups are as the API writes them, the core group empty.
type reference struct {
	fromGroup, fromKind, fromNamespace string
	toGroup, toKind, toNamespace       string
	toName                             string
}

// permitted says whether a reference may be followed: within a namespace
// always, across only where a ReferenceGrant in the target's namespace allows
// it.
func (x *index) permitted(r reference) bool {
	if r.fromNamespace == r.toNamespace {
		return true
	}
	x.deps.note(theGrants, types.NamespacedName{Namespace: r.toNamespace})
	for _, g := range x.grants[r.toNamespace] {
		if grants(g, r) {
			return true
		}
	}
	return false
}

func grants(g *gwv1.ReferenceGrant, r reference) bool {
	from := false
	for _, f := range g.Spec.From {
		if string(f.Group) == r.fromGroup && string(f.Kind) == r.fromKind && string(f.Namespace) == r.fromNamespace {
			from = true
			break
		}
	}
	if !from {
		return false
	}
	for _, t := range g.Spec.To {
		if string(t.Group) == r.toGroup && string(t.Kind) == r.toKind &&
			(t.Name == nil || *t.Name == "" || string(*t.Name) == r.toName) {
			return true
		}
	}
	return false
}
