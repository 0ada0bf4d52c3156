package ingest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// session translates the sessionPersistence of a rule (GEP-1619); nil where
// there is none. A cookie without a name gets one that no other rule has, and
// that stays as long as the rule keeps its name, or else its place.
func (r *route) session(spec *gwv1.SessionPersistence, rule int, ruleName *gwv1.SectionName) (*ir.Session, *refusal) {
	if spec == nil {
		return nil, nil
	}
	out := &ir.Session{}
	if spec.SessionName != nil && *spec.SessionName != "" {
		out.Name = *spec.SessionName
	} else {
		of := fmt.Sprintf("rule %d", rule)
		if ruleName != nil {
			of = string(*ruleName)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s", r.kind, r.name, of))
		out.Name = "porchlight-" + hex.EncodeToString(sum[:6])
	}
	if spec.Type != nil && *spec.Type != gwv1.CookieBasedSessionPersistence && *spec.Type != gwv1.HeaderBasedSessionPersistence {
		return nil, unsupported("sessionPersistence of type %s is not supported.", *spec.Type)
	}
	if spec.Type != nil && *spec.Type == gwv1.HeaderBasedSessionPersistence {
		out.Header = true
		if spec.AbsoluteTimeout != nil || spec.CookieConfig != nil {
			return nil, unsupported("sessionPersistence of type Header has no absoluteTimeout and no cookieConfig.")
		}
		return out, checkSessionHeader(out.Name)
	}
	if !token(out.Name) || hasAnyPrefix(strings.ToLower(out.Name), "__host-", "__secure-") {
		return nil, unsupported("%q is not a name that a cookie for a session may have.", out.Name)
	}
	lifetime := gwv1.SessionCookieLifetimeType
	if spec.CookieConfig != nil && spec.CookieConfig.LifetimeType != nil {
		lifetime = *spec.CookieConfig.LifetimeType
	}
	switch {
	case lifetime == gwv1.SessionCookieLifetimeType && spec.AbsoluteTimeout == nil:
		return out, nil
	case lifetime == gwv1.SessionCookieLifetimeType:
		// Envoy can write the end into the cookie, but by the clock of the
		// machine's uptime, which an Envoy elsewhere does not share.
		return nil, unsupported("absoluteTimeout needs a cookie with lifetimeType Permanent: Envoy does not end sessions by itself.")
	case lifetime != gwv1.PermanentCookieLifetimeType:
		return nil, unsupported("cookie lifetimeType %s is not supported.", lifetime)
	case spec.AbsoluteTimeout == nil:
		return nil, unsupported("a cookie with lifetimeType Permanent needs absoluteTimeout.")
	}
	var err *refusal
	if out.MaxAge, err = timeout(spec.AbsoluteTimeout); err != nil {
		return nil, err
	}
	if out.MaxAge < time.Second || out.MaxAge%time.Second != 0 {
		return nil, unsupported("absoluteTimeout of %s is not a number of seconds: the lifetime of a cookie is one.", *spec.AbsoluteTimeout)
	}
	return out, nil
}

// token says whether something may be the name of a cookie or a header (RFC
// 9110 section 5.6.2).
func token(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// checkSessionHeader refuses what is no name of a header, and headers that mean
// something else to Envoy or to the client.
func checkSessionHeader(name string) *refusal {
	if !token(name) {
		return unsupported("%q is not the name of a header.", name)
	}
	switch n := strings.ToLower(name); {
	case slices.Contains([]string{
		"host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect",
		"content-length", "content-type", "content-encoding", "cookie", "set-cookie", "location", "authorization", "www-authenticate",
		"date", "server", "x-request-id",
	}, n), hasAnyPrefix(n, "x-envoy-", "x-forwarded-", "x-porchlight-", "grpc-"):
		return unsupported("header %s has a meaning of its own and cannot hold a session.", name)
	}
	return nil
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// sessionOver has the cookie of a session kept to TLS where the listener speaks
// that. Over HTTP, clients would not take it.
func sessionOver(scheme string, f *ir.Forward) *ir.Forward {
	if f == nil || f.Session == nil || f.Session.Header || scheme != "https" {
		return f
	}
	out, s := *f, *f.Session
	s.Secure = true
	out.Session = &s
	return &out
}

// choice returns what the requests of a rule are spread over: the backends by
// their weights. Those of a rule with sessions are one, so that a client finds
// its endpoint wherever its request would have fallen: Envoy looks for it in
// one cluster. Backends of weight zero are in it, for those who are there
// already. Invalid ones are not: their share of the requests fails.
func choice(bs []backend, s *ir.Session) ([]backend, *refusal) {
	if s == nil {
		return weighted(bs), nil
	}
	var joint, invalid []backend
	var weight uint32
	for _, b := range bs {
		if _, ok := b.reach(binding{}); !ok {
			invalid = append(invalid, b)
			continue
		}
		weight += b.share.Weight
		joint = append(joint, b)
	}
	if weight == 0 {
		return weighted(invalid), nil
	}
	first := joint[0]
	out := backend{cluster: first.cluster, share: first.share}
	out.share.Weight = weight
	if len(joint) > 1 {
		c := *first.cluster
		for _, b := range joint {
			if b.cluster.Protocol != c.Protocol || !reflect.DeepEqual(b.cluster.TLS, c.TLS) {
				return nil, unsupported("sessionPersistence needs backends that speak the same protocol, with the same TLS; ports %d of Service %s and %d of %s do not.",
					c.Port, c.Service, b.cluster.Port, b.cluster.Service)
			}
			if b.share.RequestHeaders != nil || b.share.ResponseHeaders != nil {
				return nil, unsupported("sessionPersistence does not go with filters of one of several backends.")
			}
			share := ir.Share{Service: b.cluster.Service, Port: b.cluster.Port, PortName: b.cluster.PortName, Weight: b.share.Weight}
			same := func(o ir.Share) bool { return o.Service == share.Service && o.Port == share.Port }
			if i := slices.IndexFunc(c.Shares, same); i >= 0 {
				c.Shares[i].Weight += share.Weight
			} else {
				c.Shares = append(c.Shares, share)
			}
		}
		if len(c.Shares) == 1 {
			c.Shares = nil
		}
		out.cluster = &c
	}
	return append([]backend{out}, weighted(invalid)...), nil
}

// finer makes weights of parts of shares whole numbers.
const finer = 100

// disjoint returns shares in which no address is twice, since Envoy would drop
// the second, and each address has the weight that it had in all of them. A
// share without addresses leaves its weight to the others; where only those of
// weight zero have any, nothing else takes new clients.
func disjoint(shares []ir.EndpointShare) []ir.EndpointShare {
	in := map[netip.AddrPort][]int{}
	var all []netip.AddrPort
	for i, s := range shares {
		for _, a := range s.Addresses {
			if in[a] == nil {
				all = append(all, a)
			}
			in[a] = append(in[a], i)
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	slices.SortStableFunc(all, func(a, b netip.AddrPort) int { return slices.Compare(in[a], in[b]) })
	var out []ir.EndpointShare
	var weight float64
	for i, a := range all {
		if i == 0 || !slices.Equal(in[a], in[all[i-1]]) {
			out, weight = append(out, ir.EndpointShare{}), 0
		}
		s := &out[len(out)-1]
		s.Addresses = append(s.Addresses, a)
		for _, n := range in[a] {
			weight += float64(shares[n].Weight) / float64(len(shares[n].Addresses))
		}
		if weight > 0 {
			s.Weight = max(1, uint32(weight*finer+0.5))
		}
	}
	heaviest := func(a, b ir.EndpointShare) int { return cmp.Compare(a.Weight, b.Weight) }
	if len(out) > 0 && slices.MaxFunc(out, heaviest).Weight == 0 {
		out = append(out, ir.EndpointShare{Weight: finer})
	}
	return out
}
