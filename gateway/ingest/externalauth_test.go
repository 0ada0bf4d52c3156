package ingest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Whatever a rule with an ExternalAuth comes to, its requests are checked by a
// cluster that is there, or go nowhere.
func TestNothingGetsPastExternalAuth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := world(t)
		checked := map[string]bool{}
		for _, r := range in.HTTPRoutes {
			for i := range r.Spec.Rules {
				if rapid.Bool().Draw(t, "unchecked") {
					continue
				}
				checked[fmt.Sprintf("%s/%s/%d", r.Namespace, r.Name, i)] = true
				a := genExternalAuth(t)
				fs := []gwv1.HTTPRouteFilter{{Type: gwv1.HTTPRouteFilterExternalAuth, ExternalAuth: a}}
				if rapid.IntRange(0, 3).Draw(t, "redirects") == 0 {
					fs = append(fs, gwv1.HTTPRouteFilter{Type: gwv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gwv1.HTTPRequestRedirectFilter{}})
					r.Spec.Rules[i].BackendRefs = nil
				}
				if rapid.Bool().Draw(t, "behind") {
					slices.Reverse(fs)
				}
				r.Spec.Rules[i].Filters = fs
			}
		}
		for _, f := range ingest.Translate(in).Fleets {
			for _, l := range f.Listeners {
				for _, c := range l.Chains {
					for _, h := range c.Table.Hosts {
						for _, r := range h.Routes {
							rule := r.Name[:strings.LastIndexByte(r.Name, '/')]
							switch {
							case r.Auth != nil:
								if !slices.ContainsFunc(f.Clusters, func(c *ir.Cluster) bool { return c.Name() == r.Auth.Cluster }) {
									t.Errorf("%s is checked by %s, which is not there", r.Name, r.Auth.Cluster)
								}
							case checked[rule] && r.Respond == nil:
								t.Errorf("%s is not checked", r.Name)
							}
						}
					}
				}
			}
		}
	})
}

// genExternalAuth is one that can be had, or refers to what there is not, or asks
// for it.
func genExternalAuth(t *rapid.T) *gwv1.HTTPExternalAuthFilter {
	out := &gwv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: rapid.SampledFrom([]gwv1.HTTPRouteExternalAuthProtocol{"GRPC", "HTTP", "HTTP", "Other"}).Draw(t, "protocol"),
		BackendRef: gwv1.BackendObjectReference{
			Name: gwv1.ObjectName(rapid.SampledFrom([]string{"s", "s", "s", "gone"}).Draw(t, "service")),
			Port: ptr(rapid.SampledFrom([]int32{80, 80, 80, 81}).Draw(t, "port")),
		},
	}
	if rapid.IntRange(0, 3).Draw(t, "elsewhere") == 0 {
		out.BackendRef.Namespace = ptr(gwv1.Namespace("web"))
	}
	if rapid.Bool().Draw(t, "http") {
		out.HTTPAuthConfig = &gwv1.HTTPAuthConfig{Path: rapid.SampledFrom([]string{"", "/check", "/../check"}).Draw(t, "path")}
	}
	return out
}
