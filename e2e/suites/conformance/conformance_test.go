//go:build e2e

// Package conformance runs the Gateway API's own conformance suite. The test
// binary runs on the lab's client host, from where it dials the gateways; what
// it tests is what the GatewayClass says it supports.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	conformance.RunConformance(t)
}
