// Package explain follows one object from its address to the pods: who gave the
// address, who announces it and why nobody else does, which listener and route
// lead on, what is behind them, and where the chain breaks. It takes objects
// and gives a Report.
package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/advice"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// State of a link.
type State string

// States: a link Holds, or it is Broken, which breaks the chain; a Note is
// neither.
const (
	Holds  State = "ok"
	Broken State = "broken"
	Note   State = "note"
)

// Link is one link of the chain.
type Link struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Reason why it is broken.
	Reason  reason.Reason `json:"reason,omitempty"`
	Text    string        `json:"text"`
	Details []Detail      `json:"details,omitempty"`
	// Fix is what to do about a broken link.
	Fix string `json:"fix,omitempty"`
}

// Detail is something about a part of a link: a node that was not chosen, an
// endpoint.
type Detail struct {
	Subject string        `json:"subject,omitempty"`
	Reason  reason.Reason `json:"reason,omitempty"`
	Text    string        `json:"text"`
}

// Report is the chain of one object.
type Report struct {
	Object string `json:"object"`
	Links  []Link `json:"links"`
}

// Break returns the first broken link, or nil where the chain holds.
func (r *Report) Break() *Link {
	i := slices.IndexFunc(r.Links, func(l Link) bool { return l.State == Broken })
	if i < 0 {
		return nil
	}
	return &r.Links[i]
}

// Kinds that can be explained, with the names that a person may use for them.
// The first is the one that completion offers.
var Kinds = []Kind{
	{[]string{"svc", "service", "services"}, (*explainer).explainService, serviceNames},
	{[]string{"gateway", "gateways", "gtw", "gw"}, (*explainer).explainGateway, gatewayNames},
	{[]string{"httproute", "httproutes"}, route("HTTPRoute"), routeNames("HTTPRoute")},
	{[]string{"grpcroute", "grpcroutes"}, route("GRPCRoute"), routeNames("GRPCRoute")},
	{[]string{"tlsroute", "tlsroutes"}, route("TLSRoute"), routeNames("TLSRoute")},
	{[]string{"tcproute", "tcproutes"}, route("TCPRoute"), routeNames("TCPRoute")},
	{[]string{"udproute", "udproutes"}, route("UDPRoute"), routeNames("UDPRoute")},
	{[]string{"ip", "address"}, (*explainer).explainAddress, addressNames},
	{[]string{"pool", "pools", "ippool", "ippools", "ipaddresspool", "ipaddresspools"}, (*explainer).explainPool, poolNames},
}

// Kind is something that can be explained.
type Kind struct {
	Names   []string
	explain func(*explainer, string) error
	// Objects of the kind that there are, as a person would name them.
	Objects func(*inventory.Objects) []string
}

// Find returns the kind of that name.
func Find(name string) (Kind, error) {
	var known []string
	for _, k := range Kinds {
		if slices.Contains(k.Names, strings.ToLower(name)) {
			return k, nil
		}
		known = append(known, k.Names[0])
	}
	return Kind{}, fmt.Errorf("%q cannot be explained; what can is %s", name, strings.Join(known, ", "))
}

// Explain follows the chain of the object of that name: NAMESPACE/NAME, or NAME
// where no two namespaces have one.
func (k Kind) Explain(o *inventory.Objects, name string) (*Report, error) {
	e := &explainer{Objects: o}
	if err := k.explain(e, name); err != nil {
		return nil, err
	}
	return &e.report, nil
}

// explainer collects the links of one report.
type explainer struct {
	*inventory.Objects
	report Report
}

func (e *explainer) about(object string) { e.report.Object = object }

func (e *explainer) add(l Link) {
	if l.State == Broken {
		l.Fix = advice.For(l.Reason)
	}
	e.report.Links = append(e.report.Links, l)
}

func (e *explainer) holds(name, text string, details ...Detail) {
	e.add(Link{Name: name, State: Holds, Text: text, Details: details})
}

func (e *explainer) note(name, text string, details ...Detail) {
	e.add(Link{Name: name, State: Note, Text: text, Details: details})
}

func (e *explainer) broken(name string, why reason.Reason, text string, details ...Detail) {
	e.add(Link{Name: name, State: Broken, Reason: why, Text: text, Details: details})
}

// condition adds a link that holds where the condition has the status that is
// wanted.
func (e *explainer) condition(name string, conditions []metav1.Condition, kind string, want metav1.ConditionStatus, text string, details ...Detail) bool {
	c := meta.FindStatusCondition(conditions, kind)
	switch {
	case c == nil:
		e.broken(name, reason.NotReported, text+": nobody has said whether it is "+kind, details...)
	case c.Status != want:
		e.broken(name, reason.Reason(c.Reason), text+": "+c.Message, details...)
	default:
		e.holds(name, text, details...)
		return true
	}
	return false
}

// pick chooses the object that a person means by a name, of those that there
// are, each "namespace/name".
func pick(kind, name string, there []string) (string, error) {
	if slices.Contains(there, name) {
		return name, nil
	}
	var same []string
	for _, n := range there {
		if _, short, _ := strings.Cut(n, "/"); short == name {
			same = append(same, n)
		}
	}
	switch {
	case len(same) == 1:
		return same[0], nil
	case len(same) > 1:
		return "", fmt.Errorf("%s %s: which of %s?", kind, name, strings.Join(same, ", "))
	case len(there) == 0:
		return "", fmt.Errorf("%s %s does not exist, and no other %s either", kind, name, kind)
	}
	return "", fmt.Errorf("%s %s does not exist; there is %s", kind, name, excerpt.Names(there, 8))
}

// namesOf are the names of objects, "namespace/name", sorted.
func namesOf[T any, P interface {
	*T
	GetNamespace() string
	GetName() string
}](items []T) []string {
	var all []string
	for _, o := range inventory.Sorted[T, P](items) {
		all = append(all, o.GetNamespace()+"/"+o.GetName())
	}
	return all
}

func gatewayNames(o *inventory.Objects) []string { return namesOf(o.Gateways.Items) }

func serviceNames(o *inventory.Objects) []string {
	var all []string
	for _, s := range o.LoadBalancers() {
		all = append(all, s.Namespace+"/"+s.Name)
	}
	return all
}

func routeNames(kind string) func(*inventory.Objects) []string {
	return func(o *inventory.Objects) []string {
		var all []string
		for _, r := range o.Routes() {
			if r.Kind == kind {
				all = append(all, r.Namespace+"/"+r.Name)
			}
		}
		return all
	}
}

func poolNames(o *inventory.Objects) []string {
	var all []string
	for _, p := range inventory.Sorted(o.Pools.Items) {
		all = append(all, p.Name)
	}
	return all
}

func addressNames(o *inventory.Objects) []string {
	var all []netip.Addr
	for _, s := range o.LoadBalancers() {
		for _, text := range inventory.Addresses(s) {
			if a, err := netip.ParseAddr(text); err == nil {
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	var texts []string
	for _, a := range slices.Compact(all) {
		texts = append(texts, a.String())
	}
	return texts
}
