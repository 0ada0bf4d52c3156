package ir

// AccessLog says what is written about each request or connection of a
// listener. Formats hold the command operators of Envoy's access log.
type AccessLog struct {
	// Path of the file.
	Path string `json:"path"`
	// Text is the line; empty where JSON is set, or for Envoy's default.
	Text string `json:"text,omitempty"`
	// JSON is the fields of an object by their names.
	JSON map[string]string `json:"json,omitempty"`
}
