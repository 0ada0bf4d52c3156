package xds

import (
	"fmt"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// YAML returns a resource for a person to read, in Envoy's own words, private
// keys left out.
func YAML(r resource.Resource) ([]byte, error) {
	m, err := r.Body().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("unmarshal %s %q: %w", r.Type, r.Name, err)
	}
	if s, ok := m.(*tlsv3.Secret); ok && s.GetTlsCertificate() != nil {
		s.GetTlsCertificate().PrivateKey = nil
	}
	return messageYAML(m)
}

// messageYAML goes through JSON twice, since protojson's own layout changes
// from build to build on purpose.
func messageYAML(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal %T: %w", m, err)
	}
	return yaml.JSONToYAML(b)
}
