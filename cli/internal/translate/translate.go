// Package translate says offline what the gateway would make of manifests: the
// configuration of its Envoys, and the statuses of the objects. It is the very
// code of the gateway; what only a cluster can tell is assumed, and said.
package translate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	gateway "github.com/porchlight-lb/porchlight/gateway/ingest/manifest"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// class is the GatewayClass that every installation has.
const class = "porchlight"

// Fleet is what the Envoys of a fleet are given.
type Fleet struct {
	Name      types.NamespacedName
	Resources []resource.Resource
}

// Status is what is written in the status of an object.
type Status struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Status    any    `json:"status"`
	// conditions of the object and its parts, in order.
	conditions []conditions
}

// conditions of a part of an object: "listener http"; empty: the object.
type conditions struct {
	part string
	list []metav1.Condition
}

// Result is what the gateway makes of the manifests.
type Result struct {
	Fleets   []Fleet
	Statuses []Status
	// Assumed are the objects that are not in the manifests and that every
	// cluster has.
	Assumed []string
	// LeftOut are the objects of kinds that are not translated.
	LeftOut []string
}

// Run translates the objects of manifests, for an installation in the
// namespace, at a time: certificates may have expired by then. Each Gateway is
// assumed to have an address, and the Envoys to have acknowledged what they are
// given.
func Run(documents []manifest.Document, namespace string, now time.Time) (*Result, error) {
	r := &Result{}
	objects, err := r.read(documents, namespace)
	if err != nil {
		return nil, err
	}
	objects.Namespace, objects.Now = namespace, now
	r.assume(objects)
	objects.AssumeFacts()
	out := ingest.Translate(objects.Input)
	for _, name := range slices.SortedFunc(maps.Keys(out.Fleets), ir.CompareNames) {
		f := out.Fleets[name]
		resources := xds.Fleet(f)
		for _, c := range f.Clusters {
			resources = append(resources, xds.Endpoints(ingest.Endpoints(c, objects.EndpointSlices)))
		}
		slices.SortStableFunc(resources, func(a, b resource.Resource) int { return a.Compare(b.Key) })
		r.Fleets = append(r.Fleets, Fleet{name, resources})
	}
	r.statuses(out)
	slices.Sort(r.Assumed)
	slices.Sort(r.LeftOut)
	return r, nil
}

// read reads the objects whose kinds are translated.
func (r *Result) read(documents []manifest.Document, namespace string) (*gateway.Objects, error) {
	var all bytes.Buffer
	for _, d := range documents {
		ref, object := placed(d.Object, namespace)
		text, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("reading %s of %s: %w", ref, d.Source, err)
		}
		if _, err := gateway.Read(bytes.NewReader(text)); errors.Is(err, gateway.ErrUnknownKind) {
			r.LeftOut = append(r.LeftOut, ref)
			continue
		} else if err != nil {
			return nil, fmt.Errorf("reading %s of %s: %w", ref, d.Source, err)
		}
		all.WriteString("---\n")
		all.Write(text)
	}
	objects, err := gateway.Read(&all)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	return objects, nil
}

// placed is an object in the namespace that kubectl would put it in, and its
// name for a person.
func placed(object map[string]any, namespace string) (string, map[string]any) {
	object = maps.Clone(object)
	kind, _ := object["kind"].(string)
	m, _ := object["metadata"].(map[string]any)
	m = maps.Clone(m)
	name, _ := m["name"].(string)
	if m != nil && m["namespace"] == nil && !slices.Contains([]string{"Namespace", "GatewayClass"}, kind) {
		m["namespace"] = "default"
		if kind == "EnvoyFleet" {
			m["namespace"] = namespace
		}
	}
	object["metadata"] = m
	in, _ := m["namespace"].(string)
	return inventory.Ref(kind, in, name), object
}

// assume adds the class and the fleet of the installation, and the namespaces
// of the objects, where the manifests have none.
func (r *Result) assume(o *gateway.Objects) {
	if !slices.ContainsFunc(o.GatewayClasses, func(c *gatewayv1.GatewayClass) bool { return c.Name == class }) {
		o.GatewayClasses = append(o.GatewayClasses, &gatewayv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: class},
			Spec:       gatewayv1.GatewayClassSpec{ControllerName: names.GatewayController},
		})
		r.Assumed = append(r.Assumed, inventory.Ref("GatewayClass", "", class))
	}
	if !slices.ContainsFunc(o.Fleets, func(f *v1beta1.EnvoyFleet) bool { return f.Name == names.DefaultFleet && f.Namespace == o.Namespace }) {
		o.Fleets = append(o.Fleets, &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: names.DefaultFleet}})
		r.Assumed = append(r.Assumed, inventory.Ref("EnvoyFleet", o.Namespace, names.DefaultFleet))
	}
	there := map[string]bool{}
	for _, n := range o.Namespaces {
		there[n.Name] = true
	}
	add := func(namespace string) {
		if there[namespace] {
			return
		}
		there[namespace] = true
		o.Namespaces = append(o.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: namespace, Labels: map[string]string{corev1.LabelMetadataName: namespace},
		}})
		r.Assumed = append(r.Assumed, inventory.Ref("Namespace", "", namespace))
	}
	for _, g := range o.Gateways {
		add(g.Namespace)
	}
	for _, s := range o.ListenerSets {
		add(s.Namespace)
	}
	for _, namespace := range routeNamespaces(o) {
		add(namespace)
	}
}

func routeNamespaces(o *gateway.Objects) []string {
	var all []string
	for _, x := range o.HTTPRoutes {
		all = append(all, x.Namespace)
	}
	for _, x := range o.GRPCRoutes {
		all = append(all, x.Namespace)
	}
	for _, x := range o.TLSRoutes {
		all = append(all, x.Namespace)
	}
	for _, x := range o.TCPRoutes {
		all = append(all, x.Namespace)
	}
	for _, x := range o.UDPRoutes {
		all = append(all, x.Namespace)
	}
	return all
}

// statuses collects the statuses of all kinds.
func (r *Result) statuses(out ingest.Output) {
	for _, c := range out.GatewayClassStatuses {
		r.Statuses = append(r.Statuses, Status{"GatewayClass", "", c.Name, c.Status, []conditions{{"", c.Status.Conditions}}})
	}
	for _, g := range out.GatewayStatuses {
		s := Status{"Gateway", g.Name.Namespace, g.Name.Name, g.Status, []conditions{{"", g.Status.Conditions}}}
		for _, l := range g.Status.Listeners {
			s.conditions = append(s.conditions, conditions{"listener " + string(l.Name), l.Conditions})
		}
		r.Statuses = append(r.Statuses, s)
	}
	for _, l := range out.ListenerSetStatuses {
		s := Status{"ListenerSet", l.Name.Namespace, l.Name.Name, l.Status, []conditions{{"", l.Status.Conditions}}}
		for _, e := range l.Status.Listeners {
			s.conditions = append(s.conditions, conditions{"listener " + string(e.Name), e.Conditions})
		}
		r.Statuses = append(r.Statuses, s)
	}
	for _, p := range out.PolicyStatuses {
		s := Status{"BackendTLSPolicy", p.Name.Namespace, p.Name.Name, gatewayv1.PolicyStatus{Ancestors: p.Ancestors}, nil}
		for _, a := range p.Ancestors {
			s.conditions = append(s.conditions, conditions{"ancestor " + string(a.AncestorRef.Name), a.Conditions})
		}
		r.Statuses = append(r.Statuses, s)
	}
	for _, route := range out.RouteStatuses {
		s := Status{string(route.Kind), route.Name.Namespace, route.Name.Name, gatewayv1.RouteStatus{Parents: route.Parents}, nil}
		for _, p := range route.Parents {
			part := "parent " + string(p.ParentRef.Name)
			if n := p.ParentRef.SectionName; n != nil {
				part += "/" + string(*n)
			}
			s.conditions = append(s.conditions, conditions{part, p.Conditions})
		}
		r.Statuses = append(r.Statuses, s)
	}
	slices.SortStableFunc(r.Statuses, func(a, b Status) int {
		return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// rank puts what others are attached to before them.
func rank(kind string) int {
	i := slices.Index([]string{"GatewayClass", "Gateway", "ListenerSet"}, kind)
	if i < 0 {
		return 3
	}
	return i
}
