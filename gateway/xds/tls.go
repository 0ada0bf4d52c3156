package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

func tlsSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(context)},
	}
}

func minimumTLS() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}
}

func secretOverADS(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()}
}

func certificates(names []types.NamespacedName) []*tlsv3.SdsSecretConfig {
	var out []*tlsv3.SdsSecretConfig
	for _, n := range names {
		out = append(out, secretOverADS(SecretName(n)))
	}
	return out
}

// validation checks the peer's certificate against authorities, which come
// over ADS, and against what v says besides.
func validation(a ir.Authorities, v *tlsv3.CertificateValidationContext) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         v,
			ValidationContextSdsSecretConfig: secretOverADS(a.Name()),
		},
	}
}

func downstreamTLS(c *ir.Chain) *tlsv3.DownstreamTlsContext {
	out := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams:                      minimumTLS(),
		TlsCertificateSdsSecretConfigs: certificates(c.Certificates),
	}}
	if c.Table != nil {
		out.CommonTlsContext.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	if v := c.Clients; v != nil {
		check := &tlsv3.CertificateValidationContext{}
		if v.Optional {
			check.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		}
		out.CommonTlsContext.ValidationContextType = validation(v.Authorities, check)
		out.RequireClientCertificate = wrapperspb.Bool(!v.Optional)
	}
	return out
}

func upstreamTLS(c *ir.Cluster) *corev3.TransportSocket {
	check := &tlsv3.CertificateValidationContext{}
	for _, n := range c.TLS.Names {
		m := &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_DNS}
		value := n.DNS
		if n.URI != "" {
			m.SanType, value = tlsv3.SubjectAltNameMatcher_URI, n.URI
		}
		// Of type DNS, Envoy also takes a wildcard in the certificate.
		m.Matcher = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
		check.MatchTypedSubjectAltNames = append(check.MatchTypedSubjectAltNames, m)
	}
	common := &tlsv3.CommonTlsContext{
		TlsParams:             minimumTLS(),
		ValidationContextType: validation(c.TLS.Authorities, check),
	}
	switch c.Protocol {
	case ir.HTTP1:
		common.AlpnProtocols = []string{"http/1.1"}
	case ir.HTTP2:
		common.AlpnProtocols = []string{"h2"}
	}
	if n := c.TLS.Certificate; n != nil {
		common.TlsCertificateSdsSecretConfigs = certificates([]types.NamespacedName{*n})
	}
	return tlsSocket(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: c.TLS.ServerName})
}
