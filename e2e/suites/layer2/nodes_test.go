//go:build e2e

package layer2

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// A node that the control plane has lost keeps its link, and its speaker does
// not learn what is said of the node: the others tell it.
func TestNodeNotReady(t *testing.T) {
	l := scenario(t)
	_, now := l.lose(t, "NodeNotReady", func(node string) {
		l.fault(t, lab.CutAPIServer, node) // the kubelet cannot contradict
		l.say(t, node, corev1.NodeReady, corev1.ConditionFalse)
	})
	l.heal(t)
	if _, err := l.Kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"); err != nil {
		t.Fatal(err)
	}
	l.unmoved(t, now)
}

func TestNodeOutOfService(t *testing.T) {
	l := scenario(t)
	taint := func(node string, taints ...corev1.Taint) {
		t.Helper()
		l.patchNode(t, node, "", map[string]any{"spec": map[string]any{"taints": taints}})
	}
	lost, now := l.lose(t, "NodeNotReady", func(node string) {
		t.Cleanup(func() { taint(node) })
		taint(node, corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoSchedule})
	})
	taint(lost)
	l.unmoved(t, now)
}

func TestNetworkUnavailable(t *testing.T) {
	l := scenario(t)
	lost, now := l.lose(t, "NetworkUnavailable", func(node string) {
		t.Cleanup(func() { l.say(t, node, corev1.NodeNetworkUnavailable, corev1.ConditionFalse) })
		l.say(t, node, corev1.NodeNetworkUnavailable, corev1.ConditionTrue)
	})
	l.say(t, lost, corev1.NodeNetworkUnavailable, corev1.ConditionFalse)
	l.unmoved(t, now)
}

// say sets a condition of a node.
func (l *lan) say(t *testing.T, node string, kind corev1.NodeConditionType, status corev1.ConditionStatus) {
	t.Helper()
	l.patchNode(t, node, "status", map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
		Type: kind, Status: status, Reason: "Test", LastTransitionTime: metav1.Now(), LastHeartbeatTime: metav1.Now(),
	}}}})
}

// patchNode changes a node or its subresource, also after the test.
func (l *lan) patchNode(t *testing.T, node, subresource string, change map[string]any) {
	t.Helper()
	text, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	patch := client.RawPatch(types.StrategicMergePatchType, text)
	if subresource == "" {
		err = l.Patch(context.Background(), o, patch)
	} else {
		err = l.SubResource(subresource).Patch(context.Background(), o, patch)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("patching node %s: %w", node, err))
	}
}

// A node whose kube-proxy does not answer any more would attract what it
// cannot forward.
func TestProxyUnhealthy(t *testing.T) {
	l := scenario(t)
	const proxyHealth = 10256
	mend := "nft 'table inet proxyhealth; delete table inet proxyhealth'"
	lost, now := l.lose(t, "ProxyUnhealthy", func(node string) {
		t.Cleanup(func() { l.on(t, node, mend) })
		l.on(t, node, fmt.Sprintf(`nft 'add table inet proxyhealth
			add chain inet proxyhealth out { type filter hook output priority 0; }
			add rule inet proxyhealth out tcp dport %d reject with tcp reset'`, proxyHealth))
	})
	l.on(t, lost, mend)
	l.unmoved(t, now)
}
