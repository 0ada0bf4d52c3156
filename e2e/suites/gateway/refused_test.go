//go:build e2e

package gateway

import (
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Gateway whose Service the API server refuses says why, and has it once the
// EnvoyFleet is mended.
func TestServiceIsRefused(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, cluster.Fleet("refused", "{replicas: 1, service: {loadBalancerClass: a..b/c}}")+gatewayOf("refused", "web", "", ""))
	gatewaySays(t, c, ns, "web", "Programmed", metav1.ConditionFalse, "ServiceRefused")
	c.Apply(t, ns, cluster.Fleet("refused", "{replicas: 1, service: {}}"))
	c.Programmed(t, ns, "web")
}
