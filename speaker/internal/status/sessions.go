package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
	"github.com/porchlight-lb/porchlight/speaker/internal/peering"
)

// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=bgpsessionstates,verbs=list;create;patch;delete
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=configurationstates,verbs=list;create;patch;delete
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=bgpsessionstates/status;configurationstates/status,verbs=patch

const (
	bgpsessionstates    = "bgpsessionstates"
	configurationstates = "configurationstates"
	// writeEvery is the least time between two writes of one object.
	writeEvery = time.Second
	// retryWrite is how long to wait after a write that failed.
	retryWrite = 5 * time.Second
)

// Sessions writes the BGPSessionStates and the ConfigurationState of a node, and
// as one node for all the conditions of BGPPeers and BGPAdvertisements: each at
// most once a second, and only where it says something new.
type Sessions struct {
	Log       *slog.Logger
	Node      string
	Namespace string
	API       *kube.Clients
	Recorder  Recorder
	// Plan runs f with the BGP plan.
	Plan func(f func(*bgp.Planner)) bool
	// Owners of the objects, with which they go.
	Owners []metav1.OwnerReference
	// Writer names the node that writes what all nodes know.
	Writer func() string

	mu     sync.Mutex
	states map[string]peering.State // by peer
	due    map[string]time.Time     // objects that may say something new, by id
	wake   chan struct{}
	// The rest is Run's alone.
	said    map[string]any         // what was written, by id
	ready   map[string]bgp.Refusal // of BGPPeers and BGPAdvertisements, as written; nil: nothing is known
	readyAt time.Time              // when it was nil last
}

// Init makes what Changed and Touch need, which may be called from then on.
func (s *Sessions) Init() {
	s.states, s.due, s.said = map[string]peering.State{}, map[string]time.Time{}, map[string]any{}
	s.wake = make(chan struct{}, 1)
}

// Changed hears of a session. It does not block.
func (s *Sessions) Changed(state peering.State, removed bool) {
	s.mu.Lock()
	old, known := s.states[state.Peer]
	if removed {
		delete(s.states, state.Peer)
	} else {
		s.states[state.Peer] = state
	}
	s.mu.Unlock()
	s.touch(s.sessionID(state.Peer))
	if old.Refused != state.Refused || removed || !known {
		s.Touch()
	}
	up, was := state.State == v1beta1.SessionEstablished, old.State == v1beta1.SessionEstablished
	switch {
	case removed:
	case up && !was:
		s.event(state, corev1.EventTypeNormal, reason.Ready, fmt.Sprintf("the session of node %s is up", s.Node))
	case was && !up:
		s.event(state, corev1.EventTypeWarning, reason.NoSession, fmt.Sprintf("the session of node %s is down: %s", s.Node, state.Err))
	case state.Refused.Reason != "" && state.Refused != old.Refused:
		s.event(state, corev1.EventTypeWarning, state.Refused.Reason, fmt.Sprintf("node %s: %s", s.Node, state.Refused.Message))
	}
}

func (s *Sessions) event(of peering.State, kind string, why reason.Reason, note string) {
	about := &corev1.ObjectReference{APIVersion: v1beta1.GroupVersion.String(), Kind: "BGPPeer", Namespace: s.Namespace, Name: of.Peer, UID: types.UID(of.UID)}
	s.Recorder.Event(about, kind, string(why), "Peer", note)
}

// Touch has the ConfigurationState looked at, and the conditions of BGPPeers and
// BGPAdvertisements.
func (s *Sessions) Touch() {
	s.touch(s.configurationID())
	s.touch(readyID)
}

func (s *Sessions) touch(id string) {
	s.mu.Lock()
	if _, waits := s.due[id]; !waits {
		s.due[id] = time.Time{}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sessions) sessionID(peer string) string {
	return bgpsessionstates + "/" + statusName(types.NamespacedName{Name: peer}, s.Node)
}

func (s *Sessions) configurationID() string { return configurationstates + "/" + s.Node }

// Run writes until ctx ends.
func (s *Sessions) Run(ctx context.Context) {
	if err := s.adopt(ctx); err != nil && ctx.Err() == nil {
		s.Log.Warn("looking for BGPSessionStates of an earlier run", "error", err)
	}
	for {
		wait := s.writeDue(ctx)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(min(wait, unsaidBy)):
			s.touch(readyID) // another node may have been the writer
		}
	}
}

// adopt deletes what an earlier run of the node's speaker left of peers that
// are no more.
func (s *Sessions) adopt(ctx context.Context) error {
	var list v1beta1.BGPSessionStateList
	options := metav1.ListOptions{LabelSelector: nodeLabel + "=" + s.Node}
	if err := s.API.Porchlight.Get().Namespace(s.Namespace).Resource(bgpsessionstates).
		VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(&list); err != nil {
		return err
	}
	for i := range list.Items {
		id := bgpsessionstates + "/" + list.Items[i].Name
		s.said[id] = unknown
		s.touch(id)
	}
	return nil
}

// writeDue writes what is due, and returns when to look again.
func (s *Sessions) writeDue(ctx context.Context) time.Duration {
	now := time.Now()
	wait := time.Hour
	var ids []string
	s.mu.Lock()
	for id, at := range s.due {
		if left := at.Sub(now); left <= 0 {
			ids = append(ids, id)
		} else {
			wait = min(wait, left)
		}
	}
	s.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		// What changes while it is looked at makes it due again.
		s.mu.Lock()
		delete(s.due, id)
		s.mu.Unlock()
		pause := writeEvery
		wrote, err := s.write(ctx, id)
		if err != nil {
			s.Log.Debug("writing status", "object", id, "error", err)
			pause = retryWrite
		}
		if wrote || err != nil {
			// It is looked at again after the pause, and not before.
			s.mu.Lock()
			s.due[id] = now.Add(pause)
			s.mu.Unlock()
			wait = min(wait, pause)
		}
	}
	return wait
}

// write brings an object up to date, and reports whether it was not.
func (s *Sessions) write(ctx context.Context, id string) (bool, error) {
	if id == readyID {
		return s.writeReady(ctx)
	}
	resource, name, _ := strings.Cut(id, "/")
	meta := metav1.ObjectMeta{
		Namespace: s.Namespace, Name: name, OwnerReferences: s.Owners,
		Labels: map[string]string{names.ManagedBy: names.Porchlight, nodeLabel: s.Node},
	}
	var want any
	var kind string
	if resource == configurationstates {
		want, kind = s.configuration(), "ConfigurationState"
	} else if session, ok := s.session(id); ok {
		want, kind = session, "BGPSessionState"
	}
	said, wrote := s.said[id]
	switch {
	case want == nil && !wrote, wrote && reflect.DeepEqual(said, want):
		return false, nil
	case want == nil:
		err := s.API.Porchlight.Delete().Namespace(s.Namespace).Resource(resource).Name(name).Do(ctx).Error()
		if err != nil && !apierrors.IsNotFound(err) {
			return false, err
		}
		delete(s.said, id)
		return true, nil
	}
	patch, err := json.Marshal(map[string]any{"status": want})
	if err != nil {
		return false, err
	}
	if !wrote || said == any(unknown) {
		if err := makeReport(ctx, s.API.Porchlight, resource, kind, meta); err != nil {
			return false, err
		}
	}
	err = s.API.Porchlight.Patch(types.MergePatchType).Namespace(s.Namespace).Resource(resource).Name(name).
		SubResource("status").Body(patch).Do(ctx).Error()
	if err != nil {
		delete(s.said, id) // to be created, if it is not there
		return false, err
	}
	s.said[id] = want
	return true, nil
}

// session is what a BGPSessionState shall say.
func (s *Sessions) session(id string) (map[string]any, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for peer, state := range s.states {
		if s.sessionID(peer) != id {
			continue
		}
		return map[string]any{ // what is empty is written, too: it may not have been
			"node": s.Node, "peer": peer, "peerUID": state.UID, "state": state.State, "bfdState": state.BFD,
			"since": metav1.NewTime(state.Since.UTC().Truncate(time.Second)), "prefixes": state.Prefixes, "lastError": state.Err,
		}, true
	}
	return nil, false
}

// problem is an object that cannot be used as it is written.
type problem struct {
	kind, name string
	bgp.Refusal
}

// configuration is what the ConfigurationState shall say.
func (s *Sessions) configuration() map[string]any {
	var problems []problem
	s.mu.Lock()
	for peer, state := range s.states {
		if state.Refused.Reason != "" {
			problems = append(problems, problem{"BGPPeer", peer, state.Refused})
		}
	}
	s.mu.Unlock()
	s.Plan(func(p *bgp.Planner) {
		for _, a := range p.Advertisements() {
			if a.Refused.Reason != "" {
				problems = append(problems, problem{"BGPAdvertisement", a.Name, a.Refused})
			}
		}
	})
	slices.SortFunc(problems, func(a, b problem) int { return strings.Compare(a.kind+"/"+a.name, b.kind+"/"+b.name) })
	result := v1beta1.ConfigurationValid
	var summary []string
	conditions := map[string]metav1.Condition{}
	for _, p := range problems {
		result = v1beta1.ConfigurationInvalid
		summary = append(summary, fmt.Sprintf("%s %s: %s: %s", p.kind, p.name, p.Reason, p.Message))
		if _, said := conditions[p.kind]; !said {
			conditions[p.kind] = metav1.Condition{Type: p.kind, Status: metav1.ConditionFalse, Reason: string(p.Reason), Message: p.name + ": " + p.Message}
		}
	}
	var list []metav1.Condition
	said, _ := s.said[s.configurationID()].(map[string]any)
	before, _ := said["conditions"].([]metav1.Condition)
	for _, kind := range []string{"BGPAdvertisement", "BGPPeer"} {
		c, bad := conditions[kind]
		if !bad {
			c = metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: string(reason.Ready)}
		}
		c.LastTransitionTime = metav1.NewTime(time.Now().UTC().Truncate(time.Second))
		if i := slices.IndexFunc(before, func(b metav1.Condition) bool { return b.Type == kind && b.Status == c.Status }); i >= 0 {
			c.LastTransitionTime = before[i].LastTransitionTime
		}
		list = append(list, c)
	}
	return map[string]any{"result": result, "errorSummary": strings.Join(summary, "; "), "conditions": list}
}
