package ingest

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Translate makes the IR and the statuses from the objects.
func Translate(in Input) Output {
	return Output{Fleets: map[types.NamespacedName]*ir.Fleet{}}
}
