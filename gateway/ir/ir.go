// Package ir is the gateway's own picture of what a fleet of Envoys serves:
// listeners, virtual hosts, routes in order of precedence, streams, and the
// clusters they reach. Package ingest makes it from API objects, package xds turns it
// into Envoy resources. It knows neither Kubernetes' API nor Envoy's, so that
// Gateway API and Ingress meet here, and holds values only: equal input gives
// an equal Fleet, in an order that order.go fixes. What a pointer leads to is
// never changed once it is part of a Fleet: equal pointers are equal content,
// which is how those who work by the change see what changed.
//
// Endpoints, certificates and authorities are not part of a Fleet: they change
// often and alone, and go from ingest to xds by functions of their own.
package ir

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Fleet is everything that one fleet of Envoys serves.
type Fleet struct {
	// Listeners by Gateway and port.
	Listeners []*Listener `json:"listeners,omitempty"`
	// Clusters that the listeners' routes name, sorted, each once.
	Clusters []*Cluster `json:"clusters,omitempty"`
	// Certificates are the names of the key pairs that listeners and clusters
	// use, sorted, each once.
	Certificates []types.NamespacedName `json:"certificates,omitempty"`
	// Authorities that listeners and clusters check their peers against,
	// sorted, each once.
	Authorities []Authorities `json:"authorities,omitempty"`
}

// Protocol is what a listener speaks with its clients.
type Protocol string

// The protocols of listeners. One of protocol TLS tells its chains apart by
// server name; some of them may be HTTPS.
const (
	HTTP Protocol = "HTTP"
	TLS  Protocol = "TLS"
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
)

// Listener is one port of one Gateway: the unit that becomes one Envoy
// listener and its route tables.
type Listener struct {
	Gateway types.NamespacedName `json:"gateway"`
	// Port is the one that clients connect to, 1 to 65535.
	Port int32 `json:"port"`
	// FleetPort is the one that the Envoys bind, 1 to 65535, unlike that of
	// any other listener of the fleet.
	FleetPort int32    `json:"fleetPort"`
	Protocol  Protocol `json:"protocol"`
	// Chains: one for each server name for TLS, exactly one otherwise.
	Chains []Chain `json:"chains,omitempty"`
	// AccessLog of what it serves; nil: none.
	AccessLog *AccessLog `json:"accessLog,omitempty"`
}

// Name of the Envoy listener.
func (l *Listener) Name() string { return ListenerName(l.Gateway, l.Port, l.Protocol) }

// ListenerName returns the name of the Envoy listener of a Gateway's port. A
// port may have one for UDP beside one for the protocols over TCP.
func ListenerName(gateway types.NamespacedName, port int32, p Protocol) string {
	name := gateway.Namespace + "/" + gateway.Name + "/" + strconv.Itoa(int(port))
	if p == UDP {
		name += "/udp"
	}
	return name
}

// Chain is what a listener does with the connections of one TLS server name.
// Exactly one of Table and Stream is set.
type Chain struct {
	// Name is unique in the fleet and does not change with the content.
	Name string `json:"name"`
	// ServerName is a host name, a wildcard like *.example.com, or empty for
	// all that no other chain of the listener names.
	ServerName string `json:"serverName,omitempty"`
	// Certificates to choose from, by what the client's TLS supports. None:
	// TLS, if the client speaks it, is not terminated.
	Certificates []types.NamespacedName `json:"certificates,omitempty"`
	// Clients says how clients are known; nil: they are not asked.
	Clients *ClientValidation `json:"clients,omitempty"`
	// Table answers HTTP requests.
	Table *RouteTable `json:"table,omitempty"`
	// Stream passes on what comes, as it is.
	Stream *Stream `json:"stream,omitempty"`
}

// ClientValidation is how clients of TLS are known.
type ClientValidation struct {
	Authorities Authorities `json:"authorities"`
	// Optional lets clients in that show no certificate, or any other.
	Optional bool `json:"optional,omitempty"`
}

// Stream passes on bytes or datagrams.
type Stream struct {
	// Route says where it is from: kind/namespace/name; empty where nothing is
	// attached.
	Route string `json:"route,omitempty"`
	// Backends with a weight above zero. The share of one without a cluster is
	// refused; none: all is.
	Backends []Backend `json:"backends,omitempty"`
}

// RouteTable is the routes of one chain: the unit that becomes one Envoy
// route configuration, which has the chain's name.
type RouteTable struct {
	// Hosts in any number, each domain once. A request whose host none of them
	// covers gets 404.
	Hosts []*VirtualHost `json:"hosts,omitempty"`
}

// VirtualHost is the routes of one domain: the smallest unit of routing that
// can be made and compared alone. A request belongs to the virtual host with
// the most specific domain that covers its host. Where no route there matches
// it gets 404: it does not fall to a wildcard's virtual host.
type VirtualHost struct {
	// Domain is a host name in lower case, a wildcard (*.example.com covers
	// any number of labels in front), or * for every other host.
	Domain string `json:"domain"`
	// Routes in order of precedence: the first that matches decides. None
	// matches: 404.
	Routes []Route `json:"routes,omitempty"`
}

// Route says what happens to the requests that it matches. Exactly one of
// Respond, Redirect and Forward is set.
type Route struct {
	// Name says where the route is from: namespace/name/rule, and the match
	// within the rule.
	Name     string    `json:"name"`
	Match    Match     `json:"match"`
	Respond  *Respond  `json:"respond,omitempty"`
	Redirect *Redirect `json:"redirect,omitempty"`
	Forward  *Forward  `json:"forward,omitempty"`
	// RequestHeaders and ResponseHeaders are changed for every backend of the
	// route, and for a redirect or a direct response.
	RequestHeaders  *HeaderChanges `json:"requestHeaders,omitempty"`
	ResponseHeaders *HeaderChanges `json:"responseHeaders,omitempty"`
	// CORS answers preflight requests and marks answers; nil: neither.
	CORS *CORS `json:"cors,omitempty"`
	// Auth is by whom requests are checked; nil: by nobody. Not of a route with
	// Respond.
	Auth *ExternalAuth `json:"auth,omitempty"`
}

// CORS says which pages of other origins may make requests.
type CORS struct {
	// Origins are those that may: scheme://host[:port], in which a * stands for
	// any characters, or * for all.
	Origins []string `json:"origins,omitempty"`
	// Methods and Headers that requests may have; * for all.
	Methods []string `json:"methods,omitempty"`
	Headers []string `json:"headers,omitempty"`
	// Expose are headers of answers that pages may read.
	Expose []string `json:"expose,omitempty"`
	// Credentials says that requests may have them.
	Credentials bool `json:"credentials,omitempty"`
	// MaxAge is how long an answer to a preflight request holds.
	MaxAge time.Duration `json:"maxAge"`
}

// PathMatch is how a path is compared.
type PathMatch string

// The ways to compare a path. A prefix is compared segment by segment: /a
// covers /a and /a/b and not /ab. A regular expression (RE2) covers the whole
// path.
const (
	PathExact  PathMatch = "Exact"
	PathPrefix PathMatch = "Prefix"
	PathRegex  PathMatch = "Regex"
)

// Match is the conditions on a request; all of them must hold.
type Match struct {
	Path PathMatch `json:"path"`
	// Value of the path; begins with / unless it is a regular expression.
	Value   string       `json:"value"`
	Method  string       `json:"method,omitempty"`
	Headers []ValueMatch `json:"headers,omitempty"`
	Query   []ValueMatch `json:"query,omitempty"`
}

// ValueMatch is a condition on a header or a query parameter.
type ValueMatch struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Regex says that Value is a regular expression (RE2) for the whole value.
	Regex bool `json:"regex,omitempty"`
}

// HeaderChanges are applied in the order set, add, remove.
type HeaderChanges struct {
	Set    []Header `json:"set,omitempty"`
	Add    []Header `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// Header is a header with its value.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Respond answers without a backend.
type Respond struct {
	// Status is an HTTP status code, 200 to 599.
	Status uint32 `json:"status"`
}

// PathRewrite changes a path. At most one of Full and Prefix is set; what the
// query holds stays.
type PathRewrite struct {
	// Full replaces the whole path.
	Full *string `json:"full,omitempty"`
	// Prefix replaces the prefix that the route matched; may be empty or end
	// with a slash.
	Prefix *string `json:"prefix,omitempty"`
}

// Redirect answers with another location; what is empty stays as it was in
// the request.
type Redirect struct {
	Scheme   string       `json:"scheme,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	Path     *PathRewrite `json:"path,omitempty"`
	// Port of the location. Zero: none is written.
	Port int32 `json:"port,omitempty"`
	// Status is 301, 302, 303, 307 or 308.
	Status uint32 `json:"status"`
}

// Forward sends the request to one of the backends.
type Forward struct {
	// Backends with a weight above zero; their sum is above zero.
	Backends []Backend `json:"backends"`
	// Invalid is the status that the share of an invalid backend gets; zero
	// where none is invalid.
	Invalid uint32 `json:"invalid,omitempty"`
	// Hostname replaces the request's host.
	Hostname string       `json:"hostname,omitempty"`
	Path     *PathRewrite `json:"path,omitempty"`
	Mirrors  []Mirror     `json:"mirrors,omitempty"`
	// Timeout of the whole request, BackendTimeout of each try. Zero: none.
	Timeout        time.Duration `json:"timeout,omitempty"`
	BackendTimeout time.Duration `json:"backendTimeout,omitempty"`
	Retry          *Retry        `json:"retry,omitempty"`
	// Session keeps each client at the endpoint that it reached first; nil:
	// every request is balanced alone.
	Session *Session `json:"session,omitempty"`
}

// Retry says when a request is sent to a backend again: where the connection
// or the try failed, and where the answer has one of the codes.
type Retry struct {
	// Codes are HTTP status codes.
	Codes []uint32 `json:"codes,omitempty"`
	// Attempts after the first; zero: none.
	Attempts uint32 `json:"attempts"`
	// Backoff before an attempt, at first; zero: Envoy's own.
	Backoff time.Duration `json:"backoff,omitempty"`
}

// Backend is a share of a route's requests.
type Backend struct {
	// Cluster by name. Empty: the backend is invalid.
	Cluster string `json:"cluster,omitempty"`
	Weight  uint32 `json:"weight"`

	RequestHeaders  *HeaderChanges `json:"requestHeaders,omitempty"`
	ResponseHeaders *HeaderChanges `json:"responseHeaders,omitempty"`
}

// Mirror sends a copy of a share of the requests to a cluster and ignores the
// answers.
type Mirror struct {
	Cluster string `json:"cluster"`
	// Numerator of Denominator requests are mirrored.
	Numerator   uint32 `json:"numerator"`
	Denominator uint32 `json:"denominator"`
}
