package ingest_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Each of two installations serves the Gateways of its own class, and says
// nothing of those of the other; a route of both has an entry of each.
func TestTwoInstallationsHaveAClassEach(t *testing.T) {
	const another = "example.com/gateway"
	in := ingest.Input{Namespace: "porchlight-system"}
	in.Fleets = []*v1beta1.EnvoyFleet{{ObjectMeta: metav1.ObjectMeta{Namespace: in.Namespace, Name: names.DefaultFleet}}}
	r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r"}}
	in.HTTPRoutes = []*gwv1.HTTPRoute{r}
	for name, controller := range map[gwv1.ObjectName]gwv1.GatewayController{"usual": names.GatewayController, "other": another} {
		in.GatewayClasses = append(in.GatewayClasses, &gwv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: string(name)}, Spec: gwv1.GatewayClassSpec{ControllerName: controller},
		})
		g := &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: string(name)}}
		g.Spec.GatewayClassName = name
		g.Spec.Listeners = []gwv1.Listener{{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType}}
		in.Gateways = append(in.Gateways, g)
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, gwv1.ParentReference{Name: name})
	}
	for told, of := range map[gwv1.GatewayController]struct {
		controller gwv1.GatewayController
		gateway    string
	}{"": {names.GatewayController, "usual"}, another: {another, "other"}} {
		in.Controller = told
		out := ingest.Translate(in)
		if s := out.GatewayClassStatuses; len(s) != 1 || s[0].Name != of.gateway {
			t.Errorf("%s says of GatewayClasses: %v", of.controller, s)
		}
		want := types.NamespacedName{Namespace: "ns", Name: of.gateway}
		if s := out.GatewayStatuses; len(s) != 1 || s[0].Name != want {
			t.Errorf("%s says of Gateways: %v", of.controller, s)
		}
		if g := out.Gateways; len(g) != 1 || g[0].Name != want {
			t.Errorf("%s wants Services for %v", of.controller, g)
		}
		if s := out.RouteStatuses; len(s) != 1 || len(s[0].Parents) != 1 ||
			s[0].Parents[0].ControllerName != of.controller || string(s[0].Parents[0].ParentRef.Name) != of.gateway {
			t.Errorf("%s says of the route: %+v", of.controller, s)
		}
	}
}
