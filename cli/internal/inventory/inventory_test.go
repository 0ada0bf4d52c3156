package inventory_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Of two installations, each has the GatewayClasses that its gateway serves, and
// of a route's statuses those that it wrote.
func TestClassesOfTheInstallation(t *testing.T) {
	const another = "example.com/gateway"
	var o inventory.Objects
	var r gatewayv1.HTTPRoute
	for name, controller := range map[string]gatewayv1.GatewayController{"usual": names.GatewayController, "other": another} {
		o.Classes.Items = append(o.Classes.Items, gatewayv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: gatewayv1.GatewayClassSpec{ControllerName: controller},
		})
		r.Status.Parents = append(r.Status.Parents, gatewayv1.RouteParentStatus{
			ControllerName: controller, ParentRef: gatewayv1.ParentReference{Name: gatewayv1.ObjectName(name)},
		})
	}
	o.HTTPRoutes.Items = []gatewayv1.HTTPRoute{r}
	for argument, want := range map[string]string{"--log-level=info": "usual", "--controller-name=" + another: "other"} {
		d := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{inventory.ComponentLabel: "gateway"}}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{argument}}}
		o.Deployments.Items = []appsv1.Deployment{d}
		if got := o.GatewayClasses(); len(got) != 1 || !got[want] {
			t.Errorf("with %s: GatewayClasses %v, want %s", argument, got, want)
		}
		if got := o.Routes()[0].Statuses; len(got) != 1 || string(got[0].ParentRef.Name) != want {
			t.Errorf("with %s: statuses %v, want that of %s", argument, got, want)
		}
	}
	if len(o.HTTPRoutes.Items[0].Status.Parents) != 2 {
		t.Error("the route itself has changed")
	}
}
