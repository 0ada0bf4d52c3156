package explain

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/advice"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

func (e *explainer) explainService(name string) error {
	picked, err := pick("Service", name, namesOf(e.Services.Items))
	if err != nil {
		return err
	}
	namespace, short, _ := strings.Cut(picked, "/")
	s := inventory.Find(e.Services.Items, namespace, short)
	e.about(inventory.Ref("Service", s.Namespace, s.Name))
	if e.serviceType(s) {
		e.address(s)
		e.announcement(s)
	}
	e.endpoints("endpoints", s)
	return nil
}

// serviceType says whether the Service is ours at all.
func (e *explainer) serviceType(s *corev1.Service) bool {
	class := e.Class()
	text := "of type LoadBalancer, without a class"
	if c := s.Spec.LoadBalancerClass; c != nil {
		text = "of type LoadBalancer and class " + *c
	}
	switch {
	case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
		e.broken("type", reason.NotOurs, fmt.Sprintf("it is of type %s: only Services of type LoadBalancer get addresses", s.Spec.Type))
		return false
	case !class.Owns(s.Spec.LoadBalancerClass):
		e.broken("type", reason.NotOurs, fmt.Sprintf("it is %s: this installation serves class %s", text, class.Name))
		return false
	}
	e.holds("type", text+": this installation's")
	return true
}

// address says who gave which address, or why there is none.
func (e *explainer) address(s *corev1.Service) {
	var details []Detail
	for _, ask := range []struct{ annotation, says string }{
		{names.AddressPool, "asks for pool"}, {names.LoadBalancerIPs, "asks for"}, {names.AllowSharedIP, "shares with those whose key is"},
	} {
		if v, ok := names.Annotation(s.Annotations, ask.annotation); ok {
			details = append(details, Detail{Subject: "the Service", Text: ask.says + " " + v})
		}
	}
	if s.Spec.LoadBalancerIP != "" {
		details = append(details, Detail{Subject: "the Service", Text: "asks for " + s.Spec.LoadBalancerIP})
	}
	c := meta.FindStatusCondition(s.Status.Conditions, names.Allocated)
	if c != nil && c.Status == metav1.ConditionTrue {
		for _, other := range e.sharers(s) {
			details = append(details, Detail{Subject: other, Text: "has an address of it, too"})
		}
		if lease := inventory.Find(e.Leases.Items, e.Namespace, "porchlight-controller"); lease != nil && lease.Spec.HolderIdentity != nil {
			pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
			details = append(details, Detail{Subject: pod, Text: "leads the controllers, which gave it"})
		}
		e.holds("address", c.Message, details...)
		return
	}
	for _, p := range inventory.Sorted(e.Pools.Items) {
		details = append(details, e.whyNot(p, s))
	}
	if c == nil {
		e.broken("address", reason.NotReported, "the controller has said nothing about the Service", details...)
		return
	}
	e.broken("address", reason.Reason(c.Reason), c.Message, details...)
}

// sharers are the other Services with an address of this one.
func (e *explainer) sharers(s *corev1.Service) []string {
	var all []string
	for _, other := range e.LoadBalancers() {
		if other.Namespace == s.Namespace && other.Name == s.Name {
			continue
		}
		for _, a := range inventory.Addresses(other) {
			if slices.Contains(inventory.Addresses(s), a) {
				all = append(all, inventory.Ref("Service", other.Namespace, other.Name))
				break
			}
		}
	}
	return all
}

// whyNot says how a pool stands to a Service that has no address.
func (e *explainer) whyNot(p *v1beta1.IPAddressPool, s *corev1.Service) Detail {
	d := Detail{Subject: "pool " + p.Name}
	if c := meta.FindStatusCondition(p.Status.Conditions, "Ready"); c == nil || c.Status != metav1.ConditionTrue {
		d.Text = "is not in use"
		if c != nil {
			d.Reason, d.Text = reason.Reason(c.Reason), c.Message
		}
		return d
	}
	if !e.admitsNamespace(p, s.Namespace) {
		d.Reason, d.Text = reason.NamespaceNotAdmitted, "admits other namespaces"
		return d
	}
	if a := p.Spec.ServiceAllocation; a != nil && len(a.ServiceSelectors) > 0 &&
		!slices.ContainsFunc(a.ServiceSelectors, func(sel metav1.LabelSelector) bool { return inventory.Matches(sel, s.Labels) }) {
		d.Reason, d.Text = reason.NoPool, "admits Services with other labels"
		return d
	}
	asked, _ := names.Annotation(s.Annotations, names.AddressPool)
	switch {
	case p.Spec.Drain:
		d.Reason, d.Text = reason.PoolDraining, "gives nothing new"
	case p.Spec.AutoAssign != nil && !*p.Spec.AutoAssign && asked != p.Name:
		d.Text = "gives only to those who ask for it (autoAssign is false)"
	default:
		d.Text = fmt.Sprintf("admits it; free: %s of IPv4, %s of IPv6", number(p.Status.AvailableIPv4), number(p.Status.AvailableIPv6))
	}
	return d
}

// admitsNamespace says whether a pool is for the Services of a namespace.
func (e *explainer) admitsNamespace(p *v1beta1.IPAddressPool, namespace string) bool {
	a := p.Spec.ServiceAllocation
	if a == nil || len(a.Namespaces) == 0 && len(a.NamespaceSelectors) == 0 || slices.Contains(a.Namespaces, namespace) {
		return true
	}
	var set map[string]string
	if ns := inventory.Find(e.Namespaces.Items, "", namespace); ns != nil {
		set = ns.Labels
	}
	return slices.ContainsFunc(a.NamespaceSelectors, func(sel metav1.LabelSelector) bool { return inventory.Matches(sel, set) })
}

func number(decimal string) string {
	if decimal == "" {
		return "an unknown number"
	}
	return decimal
}

// announcement says who tells the network, and why the others do not.
func (e *explainer) announcement(s *corev1.Service) {
	if len(inventory.Addresses(s)) == 0 {
		e.note("announcement", "there is no address to announce")
		return
	}
	var details []Detail
	speakers := e.Speakers()
	dead := ""
	for _, owner := range e.Owners()[inventory.KeyOf(s)] {
		text := "answers ARP and NDP on " + strings.Join(owner.Interfaces, ", ")
		d := Detail{Subject: owner.Node, Text: text}
		if p := speakers[owner.Node]; len(e.Pods.Items) > 0 && (p == nil || !inventory.IsReady(p)) {
			d.Reason, d.Text = reason.SpeakerDown, "is said to answer, and has no speaker that is ready"
			dead = owner.Node
		}
		details = append(details, d)
	}
	for _, a := range e.Announcers()[inventory.KeyOf(s)] {
		for _, peer := range a.Peers {
			details = append(details, e.session(a.Node, peer))
		}
	}
	c := meta.FindStatusCondition(s.Status.Conditions, names.Announced)
	if c != nil {
		details = append(details, notChosen(c.Message)...)
	}
	for _, name := range inventory.PoolsOf(s) {
		if p := inventory.Find(e.Pools.Items, e.Namespace, name); p != nil {
			ads := e.Advertisements(p)
			if len(ads) == 0 {
				details = append(details, Detail{Subject: "pool " + name, Reason: reason.NoAdvertisement, Text: "no advertisement is for it"})
				continue
			}
			details = append(details, Detail{Subject: "pool " + name, Text: "is announced by " + strings.Join(ads, ", ")})
		}
	}
	switch {
	case c == nil:
		e.broken("announcement", reason.NotReported, "the speakers have said nothing about the Service", details...)
	case c.Status != metav1.ConditionTrue:
		e.broken("announcement", reason.Reason(c.Reason), chosen(c.Message), details...)
	case dead != "":
		e.broken("announcement", reason.SpeakerDown, fmt.Sprintf("%s was to answer for it, and its speaker does not run", dead), details...)
	default:
		e.holds("announcement", chosen(c.Message), details...)
	}
}

// session tells of a node that announces to a peer.
func (e *explainer) session(node, peer string) Detail {
	d := Detail{Subject: node, Text: "tells BGP peer " + peer}
	for i := range e.Sessions.Items {
		st := &e.Sessions.Items[i].Status
		if st.Node != node || st.Peer != peer {
			continue
		}
		if st.State != v1beta1.SessionEstablished {
			d.Reason = reason.NoSession
			d.Text = fmt.Sprintf("would tell BGP peer %s; the session is %s", peer, st.State)
			if st.LastError != "" {
				d.Text += ": " + st.LastError
			}
		}
		return d
	}
	d.Text += ", of whose session nothing is known"
	return d
}

// chosen is what the condition Announced says of the addresses themselves.
func chosen(message string) string {
	text, _, _ := strings.Cut(message, "; not chosen")
	return text
}

// notChosen reads, of the message of the condition Announced, why each node is
// not the owner: "…; not chosen: node2 NotOwner, node3 NodeExcluded".
func notChosen(message string) []Detail {
	var all []Detail
	for part := range strings.SplitSeq(message, "; ") {
		rest, ok := strings.CutPrefix(part, "not chosen")
		if !ok {
			continue
		}
		of, nodes, _ := strings.Cut(rest, ": ")
		for each := range strings.SplitSeq(nodes, ", ") {
			node, why, found := strings.Cut(each, " ")
			if node == "and" || !found { // "and 3 more"
				all = append(all, Detail{Text: each + " nodes are not chosen" + of})
				continue
			}
			all = append(all, Detail{Subject: node, Reason: reason.Reason(why), Text: strings.TrimSpace("is not chosen"+of) + ". " + advice.For(reason.Reason(why))})
		}
	}
	return all
}

// endpoints says what is behind each port of a Service.
func (e *explainer) endpoints(link string, s *corev1.Service) {
	if len(s.Spec.Ports) == 0 {
		e.broken(link, reason.NoEndpoints, "the Service has no ports")
		return
	}
	for _, port := range s.Spec.Ports {
		e.port(link, s, port)
	}
}

// port says what is behind one port of a Service.
func (e *explainer) port(link string, s *corev1.Service, port corev1.ServicePort) {
	all := e.Endpoints(s, port)
	ready := 0
	var details []Detail
	for _, ep := range all {
		d := Detail{Subject: fmt.Sprintf("%s port %d", ep.Address, ep.Port)}
		var parts []string
		if ep.Pod != "" {
			parts = append(parts, "pod "+ep.Pod)
		}
		if ep.Node != "" {
			parts = append(parts, "on "+ep.Node)
		}
		switch {
		case ep.Ready:
			ready++
			parts = append(parts, "ready")
		case ep.Serving:
			parts = append(parts, "ends, and still serves")
		default:
			d.Reason = reason.NoEndpoints
			parts = append(parts, "not ready")
		}
		d.Text = strings.Join(parts, " ")
		details = append(details, d)
	}
	text := fmt.Sprintf("port %d/%s: %d of %d ready", port.Port, port.Protocol, ready, len(all))
	if ready > 0 {
		if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			text += "; traffic goes to the node's own alone (externalTrafficPolicy Local)"
		}
		e.holds(link, text, details...)
		return
	}
	if len(all) == 0 {
		text = fmt.Sprintf("port %d/%s: none", port.Port, port.Protocol)
		if len(s.Spec.Selector) > 0 {
			text += "; the selector is " + labels.FormatLabels(s.Spec.Selector) + ", and the pods' port " + port.TargetPort.String()
		}
	}
	e.broken(link, reason.NoEndpoints, text, details...)
}
