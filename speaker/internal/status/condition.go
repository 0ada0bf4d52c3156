package status

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

// mostReasons bounds how many nodes a message tells about one by one, for each
// address.
const mostReasons = 8

// condition is True where every address is announced, on layer 2 or over BGP.
// Its reason is the first that is not Announced, in the order of the addresses.
// The message names the owners, and says of the other nodes why they are not.
// The time is left to the caller.
func condition(verdicts []election.Verdict, routes map[netip.Addr]bgp.Verdict) metav1.Condition {
	c := metav1.Condition{Type: names.Announced, Status: metav1.ConditionTrue, Reason: string(reason.Announced)}
	var texts []string
	var others []string            // what is said of the nodes not chosen
	about := map[string][]string{} // the addresses of which it is said
	for _, v := range verdicts {
		route := routes[v.IP]
		text, why, announced := ownerText(v), v.Reason, v.Owner != ""
		switch {
		case !route.Advertised:
		case v.Reason == reason.NoAdvertisement: // over BGP alone
			text, why, announced = routeText(v.IP, route), route.Reason, route.Reason == reason.Announced
		default:
			text += " and " + routeText(v.IP, route)
			if route.Reason == reason.Announced {
				announced = true
				if v.Owner == "" && v.Reason != reason.AddressConflict {
					why = reason.Announced
				}
			}
		}
		texts = append(texts, text)
		if c.Reason == string(reason.Announced) && why != reason.Announced {
			c.Reason = string(why)
		}
		if !announced {
			c.Status = metav1.ConditionFalse
		}
		if v.Reason == reason.NoAdvertisement && route.Advertised {
			continue
		}
		if text := notChosen(v.Nodes); text != "" {
			if about[text] == nil {
				others = append(others, text)
			}
			about[text] = append(about[text], v.IP.String())
		}
	}
	c.Message = strings.Join(texts, ", ")
	for _, text := range others {
		c.Message += "; not chosen"
		if len(about[text]) < len(verdicts) {
			c.Message += " for " + strings.Join(about[text], ", ")
		}
		c.Message += ": " + text
	}
	return c
}

// routeText does not name the nodes, which are many and come and go: the
// ServiceBGPStatuses do.
func routeText(ip netip.Addr, v bgp.Verdict) string {
	if v.Reason == reason.Announced {
		return fmt.Sprintf("%s is announced over BGP", ip)
	}
	return fmt.Sprintf("%s is not announced over BGP (%s)", ip, v.Reason)
}

func ownerText(v election.Verdict) string {
	conflict := v.Reason == reason.AddressConflict
	switch {
	case v.Owner == "" && conflict:
		return fmt.Sprintf("no node answers for %s, since a host that is no speaker does", v.IP)
	case v.Owner == "":
		return fmt.Sprintf("no node answers for %s", v.IP)
	case conflict:
		return fmt.Sprintf("%s answers for %s, and so does a host that is no speaker", v.Owner, v.IP)
	}
	return fmt.Sprintf("%s answers for %s", v.Owner, v.IP)
}

// notChosen names the nodes, those first that could not have been chosen, and
// counts those that would be too many to name.
func notChosen(nodes []election.NodeVerdict) string {
	order := slices.Clone(nodes)
	slices.SortStableFunc(order, func(a, b election.NodeVerdict) int {
		return number(a.Reason == reason.NotOwner) - number(b.Reason == reason.NotOwner)
	})
	if len(order) <= mostReasons {
		order = slices.Clone(nodes)
	}
	parts := excerpt.Parts(order, mostReasons, func(n election.NodeVerdict) string { return fmt.Sprintf("%s %s", n.Node, n.Reason) })
	return strings.Join(parts, ", ")
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
