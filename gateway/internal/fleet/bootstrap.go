package fleet

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"text/template"

	"google.golang.org/protobuf/encoding/protojson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

// Ports of an Envoy beside those of its listeners.
const (
	// AdminPort is Envoy's administration, on the loopback address only.
	AdminPort = 19000
	// ReadyPort answers /ready and /stats/prometheus and nothing else.
	ReadyPort = 19001
	// DrainPort is that of the program that drains it.
	DrainPort = 19002
)

// Directories in the Envoy container.
const (
	configDir = "/etc/envoy"
	certsDir  = "/etc/porchlight/xds"
)

//go:embed bootstrap.yaml
var bootstrapText string

//go:embed certificate.yaml
var certificateText string

//go:embed authorities.yaml
var authoritiesText string

var bootstrapTemplate = template.Must(template.New("envoy.yaml").Option("missingkey=error").Parse(bootstrapText))
var certificateTemplate = template.Must(template.New("certificate.yaml").Option("missingkey=error").Parse(certificateText))
var authoritiesTemplate = template.Must(template.New("authorities.yaml").Option("missingkey=error").Parse(authoritiesText))

// Place is what differs between an Envoy in a cluster and one in a trial.
type Place struct {
	// Server is the host name of the xDS server, and Port its port.
	Server string
	Port   int
	// ServerName is what the server's certificate must be made out to.
	ServerName string
	AdminPort  int
	ReadyPort  int
	ConfigDir  string
	CertsDir   string
}

// Runtime is what every Envoy's runtime is to have, as JSON.
func (Place) Runtime() (string, error) {
	b, err := json.Marshal(xds.Runtime)
	return string(b), err
}

// Scopes is the filter chain that every Envoy needs to hear of scopes, as JSON.
func (Place) Scopes() (string, error) {
	b, err := protojson.Marshal(xds.KeepScopes())
	if err != nil {
		return "", err
	}
	var compact bytes.Buffer // protojson's blanks differ from one program to the next
	err = json.Compact(&compact, b)
	return compact.String(), err
}

// PlaceOf is that of a fleet's pods.
func PlaceOf(fleet types.NamespacedName, xdsPort int) Place {
	name := certs.ServerName(fleet.Namespace)
	return Place{
		Server: name, Port: xdsPort, ServerName: name,
		AdminPort: AdminPort, ReadyPort: ReadyPort, ConfigDir: configDir, CertsDir: certsDir,
	}
}

// Files returns Envoy's configuration files by name: envoy.yaml, which is
// given to it, and those that it names. The certificates are in files of their
// own so that Envoy loads them anew when they change.
func Files(p Place) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range []*template.Template{bootstrapTemplate, certificateTemplate, authoritiesTemplate} {
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", t.Name(), err)
		}
		out[t.Name()] = b.String()
	}
	return out, nil
}
