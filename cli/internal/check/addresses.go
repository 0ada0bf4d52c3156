package check

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// pools looks at where addresses come from.
func (c *checker) pools() string {
	if len(c.Pools.Items) == 0 {
		c.fail("namespace "+c.Namespace, reason.NoPool, "there is no IPAddressPool: no Service can get an address")
		return "none"
	}
	ready := 0
	for _, p := range inventory.Sorted(c.Pools.Items) {
		ref := inventory.Ref("IPAddressPool", "", p.Name)
		state := meta.FindStatusCondition(p.Status.Conditions, "Ready")
		switch {
		case state == nil && c.runs("controller"):
			c.fail(ref, reason.NotReported, "the controller has said nothing about the pool")
		case state == nil:
		case state.Status != metav1.ConditionTrue:
			c.fail(ref, reason.Reason(state.Reason), "%s", state.Message)
		default:
			ready++
		}
		if e := meta.FindStatusCondition(p.Status.Conditions, "Exhausted"); e != nil && e.Status == metav1.ConditionTrue {
			c.warn(ref, reason.Exhausted, "%s", e.Message)
		}
	}
	return fmt.Sprintf("%d of %d in use", ready, len(c.Pools.Items))
}

// advertisements looks at whether what is given is announced by anybody.
func (c *checker) advertisements() string {
	for _, p := range inventory.Sorted(c.Pools.Items) {
		if len(c.Advertisements(p)) == 0 {
			c.warn(inventory.Ref("IPAddressPool", "", p.Name), reason.NoAdvertisement, "no advertisement is for the pool: its addresses are given, and nobody announces them")
		}
	}
	missing := func(ref string, pools []string) {
		for _, name := range pools {
			if inventory.Find(c.Pools.Items, c.Namespace, name) == nil {
				c.warn(ref, reason.PoolNotFound, "it names IPAddressPool %s, which does not exist", name)
			}
		}
	}
	for _, a := range inventory.Sorted(c.L2Advertisements.Items) {
		missing(inventory.Ref("L2Advertisement", "", a.Name), a.Spec.IPAddressPools)
	}
	for _, a := range inventory.Sorted(c.BGPAdvertisements.Items) {
		ref := inventory.Ref("BGPAdvertisement", "", a.Name)
		missing(ref, a.Spec.IPAddressPools)
		if len(c.BGPPeers.Items) == 0 {
			c.fail(ref, reason.PeerNotFound, "there is no BGPPeer to announce to")
		}
	}
	c.configurations()
	return fmt.Sprintf("%s, %s", plural(len(c.L2Advertisements.Items), "L2Advertisement"), plural(len(c.BGPAdvertisements.Items), "BGPAdvertisement"))
}

// configurations tells of what programs cannot use of their configuration,
// once for all nodes that say the same.
func (c *checker) configurations() {
	type complaint struct{ kind, name, why, text string }
	var order []complaint
	by := map[complaint][]string{}
	for _, s := range inventory.Sorted(c.Configurations.Items) {
		if s.Status.Result != v1beta1.ConfigurationInvalid {
			continue
		}
		for _, condition := range s.Status.Conditions {
			if condition.Status != metav1.ConditionFalse {
				continue
			}
			name, text, found := strings.Cut(condition.Message, ": ")
			if !found {
				name, text = "", condition.Message
			}
			k := complaint{condition.Type, name, condition.Reason, text}
			if by[k] == nil {
				order = append(order, k)
			}
			by[k] = append(by[k], s.Name)
		}
	}
	for _, k := range order {
		c.fail(inventory.Ref(k.kind, "", k.name), reason.Reason(k.why), "%s (said by %s)", k.text, list(by[k]))
	}
}

// sessions looks at the BGP sessions; those of one peer that are down for the
// same cause are told of together.
func (c *checker) sessions() string {
	if len(c.BGPPeers.Items) == 0 && len(c.Sessions.Items) == 0 {
		return "none"
	}
	up := 0
	for _, p := range inventory.Sorted(c.BGPPeers.Items) {
		type cause struct{ state, text string }
		var causes []cause
		down, all, established := map[cause][]string{}, 0, 0
		for _, s := range inventory.Sorted(c.Sessions.Items) {
			if s.Status.Peer != p.Name {
				continue
			}
			all++
			if s.Status.State == v1beta1.SessionEstablished {
				established++
				continue
			}
			k := cause{string(s.Status.State), s.Status.LastError}
			if down[k] == nil {
				causes = append(causes, k)
			}
			down[k] = append(down[k], s.Status.Node)
		}
		up += established
		ref := inventory.Ref("BGPPeer", "", p.Name)
		if all == 0 && c.runs("speaker") {
			c.warn(ref, reason.NotReported, "no node keeps a session to the peer")
		}
		for _, k := range causes {
			slices.Sort(down[k])
			severity := Warning
			if established == 0 {
				severity = Error
			}
			text := fmt.Sprintf("the session of %s is %s", list(down[k]), k.state)
			if k.text != "" {
				text += ": " + k.text
			}
			c.say(severity, ref, reason.NoSession, "%s", text)
		}
	}
	return fmt.Sprintf("%d of %d established", up, len(c.Sessions.Items))
}

// services looks at every Service of type LoadBalancer that is ours.
func (c *checker) services() string {
	speakers, owners := c.Speakers(), c.Owners()
	all := c.LoadBalancers()
	fine := 0
	for _, s := range all {
		before := len(c.found)
		ref := inventory.Ref("Service", s.Namespace, s.Name)
		allocated := meta.FindStatusCondition(s.Status.Conditions, names.Allocated)
		announced := meta.FindStatusCondition(s.Status.Conditions, names.Announced)
		switch {
		case allocated == nil && c.runs("controller"):
			c.fail(ref, reason.NotReported, "the controller has said nothing about the Service")
		case allocated == nil:
		case allocated.Status != metav1.ConditionTrue:
			c.fail(ref, reason.Reason(allocated.Reason), "%s", allocated.Message)
		}
		switch {
		case len(inventory.Addresses(s)) == 0:
		case announced == nil && c.runs("speaker"):
			c.fail(ref, reason.NotReported, "the speakers have said nothing about the Service")
		case announced == nil:
		case announced.Status != metav1.ConditionTrue:
			c.fail(ref, reason.Reason(announced.Reason), "%s", announced.Message)
		case announced.Reason != string(reason.Announced):
			c.warn(ref, reason.Reason(announced.Reason), "%s", announced.Message)
		}
		for _, owner := range owners[inventory.KeyOf(s)] {
			if p := speakers[owner.Node]; len(c.Pods.Items) > 0 && (p == nil || !inventory.IsReady(p)) {
				c.warn(ref, reason.SpeakerDown, "%s is said to answer for it, and has no speaker that is ready", owner.Node)
			}
		}
		if len(c.found) == before && allocated != nil && announced != nil {
			fine++
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d have addresses that are announced", fine, len(all))
}
