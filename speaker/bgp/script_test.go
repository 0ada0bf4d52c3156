package bgp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/internal/script"
)

// TestScripts runs the stories of testdata/script: the plan of node n1. Their
// commands are
//
//	node NAME [REASON] | delete-node NAME | proxy up|down
//	peer NAME ADDRESS [nodes=A,B] [secret=S] [profile=P] [dual] [interface=I] [vrf=V] [port=N] [gateway] [refused=REASON]
//	advertise NAME [nodes=A,B] [peers=A,B] [length=N] [length6=N] [pref=N] [med=N] [prepend=N]
//	    [communities=A,B] [refused=REASON]
//	communities NAME [ALIAS=VALUE...] | delete-communities NAME
//	profile NAME | delete-profile NAME | secret NAME [invalid] | delete-secret NAME
//	address IP [ADVERTISEMENT...] [local=A,B] [no-endpoints] [behind]
//	delete-peer NAME | delete-advertise NAME | delete IP
//	session NODE PEER up|down [ERROR...]|REASON
//	drain | withdraw
//	explain IP: why it is announced or not, and to which peers of n1
//	advertisements | peers: the state of each
//
// Commands print the paths that change, and the peers whose state changes.
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/script/*.txt", func(t *testing.T, out *bytes.Buffer) func([]string) {
		p, said := New("n1"), map[string]string{}
		return func(command []string) {
			words := strings.Fields(command[0])
			n := out.Len()
			switch words[0] {
			case "explain":
				explain(p, netip.MustParseAddr(words[1]), out)
			case "advertisements":
				for _, a := range p.Advertisements() {
					fmt.Fprintf(out, "%s: %s\n", a.Name, format(a.Refused))
				}
			case "peers":
				for _, s := range p.PeerStates() {
					fmt.Fprintf(out, "%s: %s\n", s.Name, format(s.Refused))
				}
			default:
				p.Step(parse(t, words[0], words[1:]))
				states := map[string]string{}
				for _, s := range p.States() {
					states[s.Name] = format(s.Refused)
					if said[s.Name] != states[s.Name] {
						fmt.Fprintf(out, "peer %s: %s\n", s.Name, states[s.Name])
					}
				}
				said = states
				for _, c := range p.Changes() {
					if c.Attributes == nil {
						fmt.Fprintf(out, "%s: withdraw %s\n", c.Peer, c.Prefix)
					} else {
						fmt.Fprintf(out, "%s: %s %s\n", c.Peer, c.Prefix, c.Attributes)
					}
				}
				p.Touched()
			}
			if out.Len() == n {
				fmt.Fprintln(out, "nothing changes")
			}
		}
	})
}

func format(r Refusal) string {
	if r.Reason == "" {
		return "usable"
	}
	return fmt.Sprintf("%s: %s", r.Reason, r.Message)
}

func explain(p *Planner, ip netip.Addr, out *bytes.Buffer) {
	v, ok := p.Explain(ip)
	if !ok {
		fmt.Fprintln(out, "unknown")
		return
	}
	fmt.Fprintf(out, "%s, advertised %v, told to %v\n", v.Reason, v.Advertised, p.Peers(ip))
}

func set(text string) map[string]bool {
	out := map[string]bool{}
	for name := range strings.SplitSeq(text, ",") {
		out[name] = true
	}
	return out
}

func parse(t *testing.T, command string, args []string) Event {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch command {
	case "node":
		ev := SetNode{Name: name}
		if len(args) > 1 {
			ev.Reason = reason.Reason(args[1])
		}
		return ev
	case "delete-node":
		return DeleteNode{name}
	case "proxy":
		return SetProxy{Down: name == "down"}
	case "peer":
		return SetPeer{parsePeer(t, args)}
	case "delete-peer":
		return DeletePeer{name}
	case "advertise":
		return SetAdvertisement{parseAdvertisement(t, args)}
	case "delete-advertise":
		return DeleteAdvertisement{name}
	case "communities":
		ev := SetCommunities{name, map[string]string{}}
		for _, arg := range args[1:] {
			k, v, _ := strings.Cut(arg, "=")
			ev.Aliases[k] = v
		}
		return ev
	case "delete-communities":
		return DeleteCommunities{name}
	case "profile":
		return SetProfile{Name: name}
	case "delete-profile":
		return DeleteProfile{name}
	case "secret":
		return SetSecret{Name: name, Password: "word", Invalid: len(args) > 1}
	case "delete-secret":
		return DeleteSecret{name}
	case "address":
		a := Address{IP: netip.MustParseAddr(name)}
		for _, arg := range args[1:] {
			if nodes, ok := strings.CutPrefix(arg, "local="); ok {
				a.Local = set(nodes)
			} else if arg == "no-endpoints" {
				a.NoEndpoints = true
			} else if arg == "behind" {
				a.Behind = true
			} else {
				a.Advertisements = append(a.Advertisements, arg)
			}
		}
		return SetAddress{a}
	case "delete":
		return DeleteAddress{netip.MustParseAddr(name)}
	case "session":
		ev := SetSession{Node: args[0], Peer: args[1], Up: args[2] == "up"}
		if ev.Error = strings.Join(args[3:], " "); args[2] != "up" && args[2] != "down" {
			ev.Refused = Refusal{reason.Reason(args[2]), "as it said"}
		}
		return ev
	case "drain":
		return Drain{}
	case "withdraw":
		return Withdraw{}
	}
	t.Fatalf("no command %q", command)
	return nil
}

func number(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parsePeer(t *testing.T, args []string) Peer {
	p := Peer{Name: args[0], Port: 179, LocalAS: 64600, PeerAS: 64512}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "nodes":
			p.Nodes = set(value)
		case "secret":
			p.Secret = value
		case "profile":
			p.Profile = value
		case "dual":
			p.DualStack = true
		case "interface":
			p.Interface = value
		case "vrf":
			p.VRF = value
		case "port":
			p.Port = uint16(number(t, value))
		case "gateway":
			p.DefaultGateway = true
		case "refused":
			p.Refused = Refusal{reason.Reason(value), "as was said"}
		default:
			p.Address = netip.MustParseAddr(arg)
		}
	}
	return p
}

func parseAdvertisement(t *testing.T, args []string) Advertisement {
	a := Advertisement{Name: args[0], Length: 32, LengthV6: 128}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "nodes":
			a.Nodes = set(value)
		case "peers":
			a.Peers = strings.Split(value, ",")
		case "length":
			a.Length = number(t, value)
		case "length6":
			a.LengthV6 = number(t, value)
		case "pref":
			a.LocalPref = uint32(number(t, value))
		case "med":
			med := uint32(number(t, value))
			a.MED = &med
		case "prepend":
			a.Prepend = number(t, value)
		case "communities":
			a.Communities = strings.Split(value, ",")
		case "refused":
			a.Refused = Refusal{reason.Reason(value), "as was said"}
		default:
			t.Fatalf("advertise %s: no argument %q", args[0], arg)
		}
	}
	return a
}
