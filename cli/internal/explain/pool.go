package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

func (e *explainer) explainPool(name string) error {
	p := inventory.Find(e.Pools.Items, e.Namespace, name)
	if p == nil {
		there := poolNames(e.Objects)
		if len(there) == 0 {
			return fmt.Errorf("IPAddressPool %s does not exist in namespace %s, and no other IPAddressPool either", name, e.Namespace)
		}
		return fmt.Errorf("IPAddressPool %s does not exist in namespace %s; there is %s", name, e.Namespace, strings.Join(there, ", "))
	}
	e.about(inventory.Ref("IPAddressPool", "", p.Name))
	e.poolState(p)
	e.admission(p)
	if ads := e.Advertisements(p); len(ads) > 0 {
		e.holds("advertisement", strings.Join(ads, ", "))
	} else {
		e.broken("advertisement", reason.NoAdvertisement, "no advertisement is for the pool: its addresses are given, and nobody announces them")
	}
	e.users(p)
	return nil
}

func (e *explainer) poolState(p *v1beta1.IPAddressPool) {
	var details []Detail
	if ranges, err := inventory.Ranges(p); err == nil {
		for _, r := range ranges {
			details = append(details, Detail{Text: r.String()})
		}
	}
	if !e.condition("state", p.Status.Conditions, "Ready", metav1.ConditionTrue, "its addresses are in use", details...) {
		return
	}
	text := fmt.Sprintf("IPv4: %s given, %s free; IPv6: %s given, %s free",
		number(p.Status.AssignedIPv4), number(p.Status.AvailableIPv4), number(p.Status.AssignedIPv6), number(p.Status.AvailableIPv6))
	if c := meta.FindStatusCondition(p.Status.Conditions, "Exhausted"); c != nil && c.Status == metav1.ConditionTrue {
		e.broken("use", reason.Exhausted, text+": "+c.Message)
		return
	}
	e.holds("use", text)
}

// admission says for whom the pool is.
func (e *explainer) admission(p *v1beta1.IPAddressPool) {
	text := "every Service"
	if a := p.Spec.ServiceAllocation; a != nil {
		var who []string
		if len(a.Namespaces) > 0 {
			who = append(who, "of namespace "+strings.Join(a.Namespaces, ", "))
		}
		for i := range a.NamespaceSelectors {
			who = append(who, "of namespaces with "+metav1.FormatLabelSelector(&a.NamespaceSelectors[i]))
		}
		for i := range a.ServiceSelectors {
			who = append(who, "with labels "+metav1.FormatLabelSelector(&a.ServiceSelectors[i]))
		}
		if len(who) > 0 {
			text = "Services " + strings.Join(who, ", or ")
		}
		if a.Priority > 0 {
			text += fmt.Sprintf("; priority %d", a.Priority)
		}
	}
	if p.Spec.AutoAssign != nil && !*p.Spec.AutoAssign {
		text += " that asks for the pool, or for an address in it"
	}
	if p.Spec.Drain {
		e.note("for", "nobody new (drain); those who have an address keep it")
		return
	}
	e.note("for", text)
}

// users lists the Services that have addresses of the pool, and those that ask
// for it and have none.
func (e *explainer) users(p *v1beta1.IPAddressPool) {
	var details []Detail
	n := 0
	for _, s := range e.LoadBalancers() {
		asked, _ := names.Annotation(s.Annotations, names.AddressPool)
		switch {
		case slices.Contains(inventory.PoolsOf(s), p.Name):
			n++
			details = append(details, Detail{Subject: inventory.Ref("Service", s.Namespace, s.Name), Text: strings.Join(inventory.Addresses(s), ", ")})
		case asked == p.Name:
			d := Detail{Subject: inventory.Ref("Service", s.Namespace, s.Name), Text: "asks for the pool, and has no address of it"}
			if c := meta.FindStatusCondition(s.Status.Conditions, names.Allocated); c != nil && c.Status != metav1.ConditionTrue {
				d.Reason = reason.Reason(c.Reason)
			}
			details = append(details, d)
		}
	}
	e.note("services", fmt.Sprintf("%d have addresses of it", n), details...)
}

func (e *explainer) explainAddress(name string) error {
	a, err := address.Parse(name)
	if err != nil {
		return fmt.Errorf("explaining an address: %w", err)
	}
	e.about("address " + a.String())
	inPool := e.poolOf(a)
	has := false
	for _, s := range e.LoadBalancers() {
		if !slices.ContainsFunc(inventory.Addresses(s), func(text string) bool {
			b, err := netip.ParseAddr(text)
			return err == nil && b == a
		}) {
			continue
		}
		has = true
		link := inventory.Ref("Service", s.Namespace, s.Name)
		if gw := e.gatewayOf(s); gw != "" {
			link += ", which is that of " + gw
		}
		e.holds("service", link)
		e.address(s)
		e.announcement(s)
		e.endpoints("endpoints", s)
	}
	if has {
		return nil
	}
	for _, n := range inventory.Sorted(e.Nodes.Items) {
		for _, na := range n.Status.Addresses {
			if na.Address == a.String() {
				e.note("node", inventory.Ref("Node", "", n.Name)+" has it as its own")
			}
		}
	}
	text := "no Service has it"
	if inPool {
		text += "; it is free"
	}
	e.note("service", text)
	return nil
}

// poolOf says which pool the address is in.
func (e *explainer) poolOf(a netip.Addr) bool {
	for _, p := range inventory.Sorted(e.Pools.Items) {
		ranges, err := inventory.Ranges(p)
		in := func(rs []address.Range) bool {
			return slices.ContainsFunc(rs, func(r address.Range) bool { return r.Contains(a) })
		}
		if err != nil {
			continue
		}
		if in(ranges) {
			e.condition("pool", p.Status.Conditions, "Ready", metav1.ConditionTrue, inventory.Ref("IPAddressPool", "", p.Name)+" has it")
			return true
		}
		all := p.DeepCopy()
		all.Spec.Exclude = nil
		if ranges, err := inventory.Ranges(all); err == nil && in(ranges) {
			e.note("pool", inventory.Ref("IPAddressPool", "", p.Name)+" excludes it")
			return false
		}
	}
	e.note("pool", "no IPAddressPool has it")
	return false
}
