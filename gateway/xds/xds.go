// Package xds turns the gateway's IR into Envoy resources, one function for
// each kind of unit. Every function is pure, and its output depends on its
// argument alone, so a caller may keep results by the argument and compare
// them by their versions.
package xds

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Runtime is what the bootstrap of every Envoy must have as a static layer of
// its layered_runtime, or it refuses resources that are valid here: regular
// expressions larger than Envoy's default of 100 instructions.
var Runtime = map[string]any{
	"re2.max_program_size.error_level": 32768,
}

// Fleet returns the listeners, route configurations and clusters of a fleet,
// all of them: see Encoder.Encode.
func Fleet(f *ir.Fleet) []resource.Resource {
	all, _ := NewEncoder().Encode(f)
	return all
}

// ads refers to the stream that the resource with the reference came by. There
// is no timeout: what is referred to always comes, and to go on without it
// would answer requests wrongly.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}
}

// pack wraps a message for a typed_config; see resource.New for the panic.
func pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic(fmt.Sprintf("marshal %T: %v", m, err))
	}
	return a
}
