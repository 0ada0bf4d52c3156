// Package inventory is what the command knows of a cluster: the objects that
// its reports are made of, whether they come from the API server or from files.
package inventory

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Labels that the installation's workloads and pods carry.
const (
	// ComponentLabel says which program a workload or a pod is.
	ComponentLabel = "app.kubernetes.io/component"
	// FleetLabel is on the pods of a fleet, with its name.
	FleetLabel = names.Prefix + "fleet"
)

// Objects are a cluster as far as it concerns an installation. The order of
// each list is nobody's promise.
type Objects struct {
	// Namespace of the installation.
	Namespace string

	Nodes          corev1.NodeList
	Namespaces     corev1.NamespaceList
	Services       corev1.ServiceList
	EndpointSlices discoveryv1.EndpointSliceList
	// ConfigMaps of the namespace that kube-proxy is in, for its own.
	ConfigMaps corev1.ConfigMapList
	// In the installation's namespace.
	Deployments appsv1.DeploymentList
	DaemonSets  appsv1.DaemonSetList
	Pods        corev1.PodList
	Leases      coordinationv1.LeaseList

	Pools             v1beta1.IPAddressPoolList
	L2Advertisements  v1beta1.L2AdvertisementList
	BGPAdvertisements v1beta1.BGPAdvertisementList
	BGPPeers          v1beta1.BGPPeerList
	L2Statuses        v1beta1.ServiceL2StatusList
	BGPStatuses       v1beta1.ServiceBGPStatusList
	Sessions          v1beta1.BGPSessionStateList
	Configurations    v1beta1.ConfigurationStateList
	Fleets            v1beta1.EnvoyFleetList

	Classes      gatewayv1.GatewayClassList
	Gateways     gatewayv1.GatewayList
	ListenerSets gatewayv1.ListenerSetList
	HTTPRoutes   gatewayv1.HTTPRouteList
	GRPCRoutes   gatewayv1.GRPCRouteList
	TLSRoutes    gatewayv1.TLSRouteList
	TCPRoutes    gatewayv1.TCPRouteList
	UDPRoutes    gatewayv1.UDPRouteList
	// BackendTLSPolicies say how backends are spoken to.
	BackendTLSPolicies gatewayv1.BackendTLSPolicyList

	// Unread are the kinds that could not be read, each with the reason why:
	// the cluster does not have the kind, or the reader may not list it.
	Unread []Unread
}

// Unread is a kind that could not be read.
type Unread struct {
	Kind string
	// Missing: the API server does not serve the kind.
	Missing bool
	Err     string
}

// Kind is one of the kinds that Objects has.
type Kind struct {
	// Name as manifests have it.
	Name string
	// List is the list in Objects that the kind's objects are in.
	List runtime.Object
	// In is the namespace that the kind is read in; empty: all of them, or the
	// kind has none.
	In string
	// Optional: an installation without it is whole.
	Optional bool
}

// Kinds are all of the kinds, in a fixed order.
func (o *Objects) Kinds() []Kind {
	return []Kind{
		{Name: "Node", List: &o.Nodes},
		{Name: "Namespace", List: &o.Namespaces},
		{Name: "Service", List: &o.Services},
		{Name: "EndpointSlice", List: &o.EndpointSlices},
		{Name: "ConfigMap", List: &o.ConfigMaps, In: metav1.NamespaceSystem, Optional: true},
		{Name: "Deployment", List: &o.Deployments, In: o.Namespace},
		{Name: "DaemonSet", List: &o.DaemonSets, In: o.Namespace},
		{Name: "Pod", List: &o.Pods, In: o.Namespace},
		{Name: "Lease", List: &o.Leases, In: o.Namespace, Optional: true},
		{Name: "IPAddressPool", List: &o.Pools, In: o.Namespace},
		{Name: "L2Advertisement", List: &o.L2Advertisements, In: o.Namespace},
		{Name: "BGPAdvertisement", List: &o.BGPAdvertisements, In: o.Namespace},
		{Name: "BGPPeer", List: &o.BGPPeers, In: o.Namespace},
		{Name: "ServiceL2Status", List: &o.L2Statuses, In: o.Namespace},
		{Name: "ServiceBGPStatus", List: &o.BGPStatuses, In: o.Namespace},
		{Name: "BGPSessionState", List: &o.Sessions, In: o.Namespace},
		{Name: "ConfigurationState", List: &o.Configurations, In: o.Namespace},
		{Name: "EnvoyFleet", List: &o.Fleets, In: o.Namespace},
		{Name: "GatewayClass", List: &o.Classes, Optional: true},
		{Name: "Gateway", List: &o.Gateways, Optional: true},
		{Name: "ListenerSet", List: &o.ListenerSets, Optional: true},
		{Name: "HTTPRoute", List: &o.HTTPRoutes, Optional: true},
		{Name: "GRPCRoute", List: &o.GRPCRoutes, Optional: true},
		{Name: "TLSRoute", List: &o.TLSRoutes, Optional: true},
		{Name: "TCPRoute", List: &o.TCPRoutes, Optional: true},
		{Name: "UDPRoute", List: &o.UDPRoutes, Optional: true},
		{Name: "BackendTLSPolicy", List: &o.BackendTLSPolicies, Optional: true},
	}
}

// Class says which Services are the installation's: what its controller was
// told or, where there is none, its speaker; the default where there is neither.
func (o *Objects) Class() names.Class {
	class := names.Class{Name: names.LoadBalancerClass}
	for i := range o.DaemonSets.Items {
		if o.DaemonSets.Items[i].Labels[ComponentLabel] == "speaker" {
			readClass(&class, o.DaemonSets.Items[i].Spec.Template.Spec)
		}
	}
	for i := range o.Deployments.Items {
		if o.Deployments.Items[i].Labels[ComponentLabel] == "controller" {
			readClass(&class, o.Deployments.Items[i].Spec.Template.Spec)
		}
	}
	return class
}

func readClass(class *names.Class, pod corev1.PodSpec) {
	for _, c := range pod.Containers {
		for _, arg := range c.Args {
			if v, ok := strings.CutPrefix(arg, "--lb-class="); ok {
				class.Name = v
			}
			if v, ok := strings.CutPrefix(arg, "--require-class"); ok {
				class.Required = v == "" || v == "=true"
			}
		}
	}
}

// GatewayController is the controllerName of the GatewayClasses that are the
// installation's: what its gateway was told; the default where there is none.
func (o *Objects) GatewayController() gatewayv1.GatewayController {
	controller := gatewayv1.GatewayController(names.GatewayController)
	for i := range o.Deployments.Items {
		d := &o.Deployments.Items[i]
		if d.Labels[ComponentLabel] != "gateway" {
			continue
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			for _, arg := range c.Args {
				if v, ok := strings.CutPrefix(arg, "--controller-name="); ok {
					controller = gatewayv1.GatewayController(v)
				}
			}
		}
	}
	return controller
}

// The components of an installation, in the order of the chain: who gives the
// address, who announces it, who serves behind it.
var Components = []string{"controller", "speaker", "gateway"}

// Program is a workload of the installation.
type Program struct {
	Component string
	// Kind and Name of the workload.
	Kind, Name string
	// Pods that are ready, and that there shall be.
	Ready, Wanted int32
	Image         string
}

// Programs are the workloads of the installation, in the order of Components.
func (o *Objects) Programs() []Program {
	var all []Program
	for _, component := range Components {
		for _, d := range Sorted(o.Deployments.Items) {
			if d.Labels[ComponentLabel] == component {
				all = append(all, Program{component, "Deployment", d.Name, d.Status.ReadyReplicas, Replicas(d.Spec.Replicas), image(d.Spec.Template.Spec)})
			}
		}
		for _, d := range Sorted(o.DaemonSets.Items) {
			if d.Labels[ComponentLabel] == component {
				all = append(all, Program{component, "DaemonSet", d.Name, d.Status.NumberReady, d.Status.DesiredNumberScheduled, image(d.Spec.Template.Spec)})
			}
		}
	}
	return all
}

// Replicas is the number of replicas that a workload asks for.
func Replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func image(pod corev1.PodSpec) string {
	if len(pod.Containers) == 0 {
		return ""
	}
	return pod.Containers[0].Image
}

// IsReady says whether a pod's condition Ready is True.
func IsReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// GatewayClasses are the names of the classes that are ours.
func (o *Objects) GatewayClasses() map[string]bool {
	ours := map[string]bool{}
	controller := o.GatewayController()
	for i := range o.Classes.Items {
		if o.Classes.Items[i].Spec.ControllerName == controller {
			ours[o.Classes.Items[i].Name] = true
		}
	}
	return ours
}

// Find returns the object of that namespace and name, or nil. A cluster-wide
// object has no namespace.
func Find[T any, P interface {
	*T
	GetNamespace() string
	GetName() string
}](items []T, namespace, name string) P {
	for i := range items { // by index: the objects are large
		if p := P(&items[i]); p.GetName() == name && p.GetNamespace() == namespace {
			return p
		}
	}
	return nil
}

// Sorted returns pointers to the items, by namespace and name.
func Sorted[T any, P interface {
	*T
	GetNamespace() string
	GetName() string
}](items []T) []P {
	out := make([]P, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	slices.SortFunc(out, func(a, b P) int {
		if c := strings.Compare(a.GetNamespace(), b.GetNamespace()); c != 0 {
			return c
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	return out
}

// Ref names an object for a person: "Service shop/web", "Node node1".
func Ref(kind, namespace, name string) string {
	if namespace == "" {
		return fmt.Sprintf("%s %s", kind, name)
	}
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}
