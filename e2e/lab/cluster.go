package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

//go:embed manifests/coredns.yaml
var corednsManifest string

func (u *run) clientset() (*kubernetes.Clientset, error) {
	config, err := u.RESTConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (u *run) startControlPlane(ctx context.Context, cp Host) error {
	ps := u.processes(cp, u.record)
	for _, p := range ps[:2] {
		if err := u.start(ctx, cp, p); err != nil {
			return err
		}
	}
	client, err := u.clientset()
	if err != nil {
		return err
	}
	err = u.wait(ctx, cp, "kube-apiserver", 90*time.Second, func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	return u.startAll(ctx, cp)
}

// registerNodes creates the Node objects, so that each node has the pod
// ranges of the plan whichever kubelet comes first.
func (u *run) registerNodes(ctx context.Context, nodes []Host) error {
	client, err := u.clientset()
	if err != nil {
		return err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "lab:kube-proxy"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "system:kube-proxy"}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%s: grant kube-proxy its role: %w", HostControlPlane, err)
	}
	for _, n := range nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{corev1.LabelHostname: n.Name}}}
		for _, c := range n.PodCIDRs {
			node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, c.String())
		}
		node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
		if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%s: create the Node: %w", n.Name, err)
		}
	}
	return nil
}

// apply applies files as a user would; stdin is what the file - stands for.
func (u *run) apply(ctx context.Context, stdin, files string) error {
	kubectl, err := u.Kubectl()
	if err != nil {
		return err
	}
	cmd := u.command(ctx, HostControlPlane, kubectl, "--kubeconfig", u.Kubeconfig(), "apply", "--server-side", "--force-conflicts", "-f", files)
	cmd.Stdin = strings.NewReader(stdin)
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %w\n%s", err, b)
	}
	return nil
}

func (u *run) applyAddons(ctx context.Context) error {
	if err := u.apply(ctx, corednsManifest, "-"); err != nil {
		return fmt.Errorf("%s: cluster DNS: %w", HostControlPlane, err)
	}
	return nil
}

func (u *run) waitNodes(ctx context.Context, nodes []Host) error {
	client, err := u.clientset()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		err := u.wait(ctx, n, "kubelet", 90*time.Second, func(ctx context.Context) error {
			node, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			return nodeReady(node)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nodeReady returns why a node is not ready, or nil.
func nodeReady(n *corev1.Node) error {
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if c.Status != corev1.ConditionTrue {
			return fmt.Errorf("node is not ready: %s: %s", c.Reason, c.Message)
		}
		for _, t := range n.Spec.Taints {
			if t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable {
				return fmt.Errorf("node still has the taint %s", t.Key)
			}
		}
		return nil
	}
	return errors.New("the kubelet has not reported yet")
}

// waitAddons waits until the cluster's resolver answers on every node, which
// takes kube-proxy, the pod network and the resolver's pod.
func (u *run) waitAddons(ctx context.Context, nodes []Host) error {
	client, err := u.clientset()
	if err != nil {
		return err
	}
	cp := u.byRole(ControlPlane)[0]
	err = u.wait(ctx, cp, "kube-scheduler", 90*time.Second, func(ctx context.Context) error {
		d, err := client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas < 1 {
			err = errors.New("deployment kube-system/coredns has no available pod")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w\n--- pods of kube-system:\n%s", err, u.describePods(ctx, "kube-system"))
	}
	for _, n := range nodes {
		dial := u.Dialer(n.Name)
		resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial(ctx, network, netip.AddrPortFrom(DNSAddress, 53).String())
		}}
		err := u.wait(ctx, n, "kube-proxy", 30*time.Second, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := resolver.LookupNetIP(ctx, "ip4", "kubernetes.default.svc.cluster.local.")
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// describePods is for error messages: what kubectl says about the pods.
func (u *run) describePods(ctx context.Context, namespace string) string {
	kubectl, err := u.Kubectl()
	if err != nil {
		return err.Error()
	}
	b, err := u.command(ctx, HostControlPlane, kubectl, "--kubeconfig", u.Kubeconfig(), "describe", "pods", "-n", namespace).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return tail(string(b), 40)
}
