package status

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=bgppeers/status;bgpadvertisements/status,verbs=patch

const (
	bgppeers          = "bgppeers"
	bgpadvertisements = "bgpadvertisements"
	// readyID stands for all BGPPeers and BGPAdvertisements: they are looked at
	// together, and so each is written at most once in writeEvery.
	readyID  = "ready"
	ready    = "Ready"
	unsaidBy = 30 * time.Second
)

// writeReady writes the condition Ready of every BGPPeer and BGPAdvertisement of
// which it is another than before, if this node is the one to do so. It reports
// whether it wrote.
func (s *Sessions) writeReady(ctx context.Context) (bool, error) {
	if s.Writer() != s.Node {
		s.ready = nil
		return false, nil
	}
	var peers, advertisements []bgp.ObjectState
	if !s.Plan(func(p *bgp.Planner) { peers, advertisements = p.PeerStates(), p.Advertisements() }) {
		return false, nil
	}
	if time.Since(s.readyAt) > unsaidBy { // objects may have been made anew, or written by others
		s.ready, s.readyAt = nil, time.Now()
	}
	before := s.ready
	s.ready = map[string]bgp.Refusal{}
	wrote := false
	for _, kind := range []struct {
		resource string
		states   []bgp.ObjectState
	}{{bgppeers, peers}, {bgpadvertisements, advertisements}} {
		for _, state := range kind.states {
			id := kind.resource + "/" + state.Name
			said, known := before[id]
			if !known || said != state.Refused {
				did, err := s.writeReadyOf(ctx, kind.resource, state)
				if err != nil {
					return wrote, err
				}
				wrote = wrote || did
			}
			s.ready[id] = state.Refused
		}
	}
	return wrote, nil
}

// writeReadyOf writes the condition of one object, unless it says so already.
func (s *Sessions) writeReadyOf(ctx context.Context, resource string, state bgp.ObjectState) (bool, error) {
	var conditions []metav1.Condition
	get := s.API.Porchlight.Get().Namespace(s.Namespace).Resource(resource).Name(state.Name)
	var err error
	if resource == bgppeers {
		var o v1beta1.BGPPeer
		err = get.Do(ctx).Into(&o)
		conditions = o.Status.Conditions
	} else {
		var o v1beta1.BGPAdvertisement
		err = get.Do(ctx).Into(&o)
		conditions = o.Status.Conditions
	}
	want := metav1.Condition{Type: ready, Status: metav1.ConditionTrue, Reason: string(reason.Ready)}
	if state.Refused.Reason != "" {
		want.Status, want.Reason, want.Message = metav1.ConditionFalse, string(state.Refused.Reason), state.Refused.Message
	}
	if err == nil {
		if !meta.SetStatusCondition(&conditions, want) {
			return false, nil
		}
		var patch []byte
		if patch, err = json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions}}); err != nil {
			return false, err
		}
		err = s.API.Porchlight.Patch(types.MergePatchType).Namespace(s.Namespace).Resource(resource).Name(state.Name).
			SubResource("status").Body(patch).Do(ctx).Error()
	}
	if apierrors.IsNotFound(err) { // it was deleted in the meantime
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("writing condition %s of %s %s: %w", ready, resource, state.Name, err)
	}
	s.Log.Info("decided", "resource", resource, "name", state.Name, "condition", want.Type, "status", want.Status, "reason", want.Reason, "message", want.Message)
	return true, nil
}
