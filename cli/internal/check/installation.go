package check

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// programs looks at the programs themselves, and at the kinds that they read.
func (c *checker) programs() string {
	c.unread()
	c.strictARP()
	images := map[string][]string{}
	var summary []string
	all := c.Programs()
	for _, component := range inventory.Components {
		if component != "gateway" && !slices.ContainsFunc(all, func(p inventory.Program) bool { return p.Component == component }) {
			c.fail("porchlight-"+component, reason.NotInstalled, "there is no %s in namespace %s", component, c.Namespace)
		}
	}
	for _, p := range all {
		summary = append(summary, fmt.Sprintf("%s %d/%d", p.Component, p.Ready, p.Wanted))
		if p.Image != "" {
			images[p.Image] = append(images[p.Image], p.Component)
		}
		switch {
		case p.Ready >= p.Wanted && p.Wanted > 0:
		case p.Ready == 0:
			c.fail(inventory.Ref(p.Kind, "", p.Name), reason.ProgramNotReady, "none of %d pods is ready%s", p.Wanted, c.trouble(p.Component))
		default:
			c.warn(inventory.Ref(p.Kind, "", p.Name), reason.ProgramNotReady, "%d of %d pods are ready%s", p.Ready, p.Wanted, c.trouble(p.Component))
		}
	}
	if len(images) > 1 {
		var texts []string
		for image, components := range images {
			texts = append(texts, strings.Join(components, " and ")+" "+image)
		}
		slices.Sort(texts)
		c.warn("namespace "+c.Namespace, reason.VersionSkew, "%s", strings.Join(texts, ", "))
	}
	if summary == nil {
		return "none"
	}
	return strings.Join(summary, ", ")
}

// unread tells of the kinds that could not be read: without those of ours there
// is no installation, and of the others the report says nothing.
func (c *checker) unread() {
	var missing []string
	for _, u := range c.Unread {
		optional := slices.ContainsFunc(c.Kinds(), func(k inventory.Kind) bool { return k.Name == u.Kind && k.Optional })
		switch {
		case u.Missing && !optional:
			missing = append(missing, u.Kind)
		case !u.Missing && u.Kind != "ConfigMap": // without which one hint is not given
			c.warn("kind "+u.Kind, reason.NotReadable, "%s", u.Err)
		}
	}
	if missing != nil {
		c.fail("the API server", reason.NotInstalled, "it does not serve %s", list(missing))
	}
}

// strictARP finds kube-proxy in a mode in which every node answers ARP for every
// address, whoever is its owner: IPVS without strictARP.
func (c *checker) strictARP() {
	m := inventory.Find(c.ConfigMaps.Items, metav1.NamespaceSystem, "kube-proxy")
	if m == nil {
		return
	}
	var proxy struct {
		Mode string `json:"mode"`
		IPVS struct {
			StrictARP bool `json:"strictARP"`
		} `json:"ipvs"`
	}
	if err := yaml.Unmarshal([]byte(m.Data["config.conf"]), &proxy); err != nil {
		return // it is kube-proxy's to say so
	}
	if proxy.Mode == "ipvs" && !proxy.IPVS.StrictARP {
		c.fail(inventory.Ref("ConfigMap", metav1.NamespaceSystem, "kube-proxy"), reason.StrictARPOff, "kube-proxy runs in IPVS mode without strictARP: every node answers ARP for every address")
	}
}

// trouble says of the pods of a component that are not ready why: "; on node2:
// CrashLoopBackOff".
func (c *checker) trouble(component string) string {
	var texts []string
	for _, p := range inventory.Sorted(c.Pods.Items) {
		if p.Labels[inventory.ComponentLabel] != component || inventory.IsReady(p) {
			continue
		}
		where := p.Name
		if p.Spec.NodeName != "" {
			where = "on " + p.Spec.NodeName
		}
		texts = append(texts, where+": "+podTrouble(p))
	}
	slices.Sort(texts)
	if len(texts) == 0 {
		return ""
	}
	return "; " + list(texts)
}

// podTrouble says in a word or two why a pod is not ready.
func podTrouble(p *corev1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch {
		case s.State.Waiting != nil && s.State.Waiting.Reason != "":
			return s.State.Waiting.Reason
		case s.State.Terminated != nil:
			return fmt.Sprintf("ended with code %d", s.State.Terminated.ExitCode)
		}
	}
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Reason
		}
	}
	if p.Status.Phase == corev1.PodRunning {
		return "runs, and is not ready"
	}
	return string(p.Status.Phase)
}

// excludeLabel keeps a node out of load balancing.
const excludeLabel = corev1.LabelNodeExcludeBalancers

// nodes looks at who could announce.
func (c *checker) nodes() string {
	if len(c.Nodes.Items) == 0 {
		return "none"
	}
	speakers := c.Speakers()
	able := 0
	var excluded []string
	for _, n := range inventory.Sorted(c.Nodes.Items) {
		ref := inventory.Ref("Node", "", n.Name)
		ready := slices.ContainsFunc(n.Status.Conditions, func(condition corev1.NodeCondition) bool {
			return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		})
		_, exclude := n.Labels[excludeLabel]
		speaks := speakers[n.Name] != nil && inventory.IsReady(speakers[n.Name])
		switch {
		case !ready:
			c.warn(ref, reason.NodeNotReady, "the node is not ready: it announces nothing")
		case !speaks && c.wantsSpeaker(n):
			text := "no speaker runs on the node"
			if p := speakers[n.Name]; p != nil {
				text = fmt.Sprintf("speaker %s is not ready: %s", p.Name, podTrouble(p))
			}
			c.warn(ref, reason.SpeakerDown, "%s", text)
		case exclude && !c.ignoresExclude():
			excluded = append(excluded, n.Name)
		case speaks:
			able++
		}
	}
	if able == 0 && c.runs("speaker") {
		if len(excluded) > 0 {
			c.fail("all nodes", reason.AllNodesExcluded, "%s keeps out %s, and no other can announce", excludeLabel, list(excluded))
		} else {
			c.fail("all nodes", reason.NoEligibleNode, "no node can announce")
		}
	}
	return fmt.Sprintf("%d of %d can announce", able, len(c.Nodes.Items))
}

// wantsSpeaker says whether the DaemonSet of the speakers selects the node.
func (c *checker) wantsSpeaker(n *corev1.Node) bool {
	for i := range c.DaemonSets.Items {
		d := &c.DaemonSets.Items[i]
		if d.Labels[inventory.ComponentLabel] != "speaker" {
			continue
		}
		for k, v := range d.Spec.Template.Spec.NodeSelector {
			if n.Labels[k] != v {
				return false
			}
		}
		return true
	}
	return false
}

// ignoresExclude says whether the speakers were told to announce from nodes
// that are excluded, too.
func (c *checker) ignoresExclude() bool {
	for i := range c.DaemonSets.Items {
		for _, container := range c.DaemonSets.Items[i].Spec.Template.Spec.Containers {
			if slices.Contains(container.Args, "--ignore-exclude-lb=true") || slices.Contains(container.Args, "--ignore-exclude-lb") {
				return true
			}
		}
	}
	return false
}
