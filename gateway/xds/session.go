package xds

import (
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// sessionFilter is the filter whose sessions stand in routes; without one it
// does nothing.
const sessionFilter = "envoy.filters.http.stateful_session"

// session has a client kept at its endpoint, and not strictly: where that is no
// longer one of the cluster's, another is chosen and the client told.
func session(s *ir.Session, m *ir.Match) *sessionv3.StatefulSessionPerRoute {
	state := &corev3.TypedExtensionConfig{}
	if s.Header {
		state.Name = "envoy.http.stateful_session.header"
		state.TypedConfig = pack(&headerv3.HeaderBasedSessionState{Name: s.Name})
	} else {
		state.Name = "envoy.http.stateful_session.cookie"
		state.TypedConfig = pack(&cookiev3.CookieBasedSessionState{Cookie: cookie(s, m)})
	}
	return &sessionv3.StatefulSessionPerRoute{Override: &sessionv3.StatefulSessionPerRoute_StatefulSession{
		StatefulSession: &sessionv3.StatefulSession{SessionState: state},
	}}
}

func cookie(s *ir.Session, m *ir.Match) *httpv3.Cookie {
	out := &httpv3.Cookie{Name: s.Name, Path: cookiePath(m)}
	attribute := func(name, value string) {
		out.Attributes = append(out.Attributes, &httpv3.CookieAttribute{Name: name, Value: value})
	}
	if s.MaxAge > 0 {
		// Not as Cookie.Ttl: with that, the value has an end by the clock of one
		// machine's uptime, and an Envoy elsewhere takes it for over.
		attribute("Max-Age", strconv.FormatInt(int64(s.MaxAge/time.Second), 10))
	}
	if s.Secure {
		attribute("Secure", "")
	}
	// Strict would have a link from another site begin a new session.
	attribute("SameSite", "Lax")
	return out
}

// cookiePath returns the Path of a cookie (GEP-1619): that of the match, of an
// expression the segments that all its paths begin with. What cannot stand in
// an attribute (RFC 6265 section 4.1.1) is left out with its segment.
func cookiePath(m *ir.Match) string {
	path := m.Value
	end := -1
	if m.Path == ir.PathRegex {
		path = literalPrefix(path)
		end = len(path)
	}
	if i := strings.IndexFunc(path, func(r rune) bool { return r <= ' ' || r == ';' || r >= 0x7f }); i >= 0 {
		end = i
	}
	if end >= 0 {
		path = path[:max(strings.LastIndexByte(path[:end], '/'), 0)]
	}
	return absolute(path)
}

// literalPrefix returns what everything that an expression covers begins with,
// or part of that.
func literalPrefix(expr string) string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return ""
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	var out strings.Builder
	for _, p := range parts {
		switch {
		case p.Op == syntax.OpBeginText:
		case p.Op == syntax.OpLiteral && p.Flags&syntax.FoldCase == 0:
			out.WriteString(string(p.Rune))
		default:
			return out.String()
		}
	}
	return out.String()
}
