package ir

// AuthProtocol is how a service is asked whether a request may go on.
type AuthProtocol string

// The protocols of services that check requests.
const (
	// AuthGRPC is Envoy's protocol for that, envoy.service.auth.v3.
	AuthGRPC AuthProtocol = "GRPC"
	// AuthHTTP sends the head of the request; an answer of 200 lets it go on.
	AuthHTTP AuthProtocol = "HTTP"
)

// ExternalAuth has every request of a route checked by a service before anything
// else happens to it but CORS. One that the service does not let pass gets the
// service's answer, and 503 where there is none.
type ExternalAuth struct {
	Protocol AuthProtocol `json:"protocol"`
	// Cluster of the service by name, one of HTTP/2 for AuthGRPC.
	Cluster string `json:"cluster"`
	// Host of the service: what an AuthGRPC check is addressed to.
	Host string `json:"host"`
	// Path is put in front of that of the request; empty, or begins with a slash
	// and does not end with one. AuthHTTP only.
	Path string `json:"path,omitempty"`
	// Headers of the request that the service sees, in lower case. None: all of
	// them for AuthGRPC. AuthHTTP has it see Host, Method, Path, Content-Length and
	// Authorization, too.
	Headers []string `json:"headers,omitempty"`
	// ResponseHeaders of the service that the backend sees, in lower case. None:
	// all that say nothing of the service's own answer or connection. AuthHTTP only.
	ResponseHeaders []string `json:"responseHeaders,omitempty"`
	// Body is the size of the largest body that the service sees, in bytes, at most
	// 65,535; a request with a larger one gets 413. Zero: it sees none.
	Body uint32 `json:"body,omitempty"`
}

// HeadersOfAnswer is a regular expression, in lower case, for the headers that say
// something of a service's own answer and connection, and nothing of the request
// that it has checked (RFC 9110, sections 7.6.1 and 8; RFC 9112, section 6.1), and
// for Host. A backend never gets them from the service: the request would end
// elsewhere than it does, or be of another type.
const HeadersOfAnswer = "connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|expect|content-.*|host"
