package ingest

import (
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// defaultMaxAge is how long an answer to a preflight request holds where the
// filter does not say.
const defaultMaxAge = 5 * time.Second

// cors translates a CORS filter.
func cors(spec *gwv1.HTTPCORSFilter) (*ir.CORS, *refusal) {
	out := &ir.CORS{MaxAge: defaultMaxAge, Credentials: spec.AllowCredentials != nil && *spec.AllowCredentials}
	if spec.MaxAge > 0 {
		out.MaxAge = time.Duration(spec.MaxAge) * time.Second
	}
	for _, o := range spec.AllowOrigins {
		scheme, host, ok := strings.Cut(string(o), "://")
		if o != "*" && (!ok || scheme == "" || host == "") || strings.ContainsAny(string(o), " \r\n\x00") {
			return nil, unsupported("%q is not an origin.", o)
		}
		out.Origins = append(out.Origins, string(o))
	}
	for _, m := range spec.AllowMethods {
		out.Methods = append(out.Methods, string(m))
	}
	for _, list := range []struct {
		from []gwv1.HTTPHeaderName
		to   *[]string
	}{{spec.AllowHeaders, &out.Headers}, {spec.ExposeHeaders, &out.Expose}} {
		for _, h := range list.from {
			if strings.ContainsAny(string(h), ",:\r\n\x00") {
				return nil, unsupported("%q is not the name of a header.", h)
			}
			*list.to = append(*list.to, string(h))
		}
	}
	return out, nil
}
