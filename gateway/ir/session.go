package ir

import "time"

// Session is how a client says which endpoint it reached before: in what the
// first answer gave it. It gets there again as long as the endpoint is one of
// the cluster, and is given another one afterwards.
type Session struct {
	// Name of the cookie, or of the header where Header is set.
	Name   string `json:"name"`
	Header bool   `json:"header,omitempty"`
	// MaxAge is how long the client keeps the cookie, in whole seconds; zero:
	// until it ends.
	MaxAge time.Duration `json:"maxAge,omitempty"`
	// Secure says that the client sends the cookie over TLS only.
	Secure bool `json:"secure,omitempty"`
}
