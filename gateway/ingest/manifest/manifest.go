// Package manifest reads API objects from YAML into what the gateway's
// translation takes, for translating without a cluster.
package manifest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Objects are what manifests hold: the input of translation, and the slices
// that ingest.Endpoints takes.
type Objects struct {
	ingest.Input
	EndpointSlices []*discoveryv1.EndpointSlice
}

// ErrUnknownKind is the error of a document whose kind translation does not know.
var ErrUnknownKind = errors.New("not a kind that is translated")

// Read reads the documents of a YAML stream. A kind that translation does not
// know is an error, and so is a field that its kind does not have.
func Read(r io.Reader) (*Objects, error) {
	o := &Objects{}
	docs := utilyaml.NewYAMLReader(bufio.NewReader(r))
	for i := 1; ; i++ {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read document %d: %w", i, err)
		}
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		if err := o.add(doc); err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
	}
}

func (o *Objects) add(doc []byte) error {
	var t metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &t); err != nil {
		return err
	}
	switch t.Kind {
	case "":
		return nil // comments only
	case "EnvoyFleet":
		return decode(doc, &o.Fleets, func(f *v1beta1.EnvoyFleet) {
			o.Namespace = cmp.Or(o.Namespace, f.Namespace)
		})
	case "GatewayClass":
		return decode(doc, &o.GatewayClasses, nil)
	case "Gateway":
		return decode(doc, &o.Gateways, nil)
	case "ListenerSet":
		return decode(doc, &o.ListenerSets, nil)
	case "HTTPRoute":
		return decode(doc, &o.HTTPRoutes, nil)
	case "GRPCRoute":
		return decode(doc, &o.GRPCRoutes, nil)
	case "TLSRoute":
		return decode(doc, &o.TLSRoutes, nil)
	case "TCPRoute":
		return decode(doc, &o.TCPRoutes, nil)
	case "UDPRoute":
		return decode(doc, &o.UDPRoutes, nil)
	case "ReferenceGrant":
		return decode(doc, &o.ReferenceGrants, nil)
	case "BackendTLSPolicy":
		return decode(doc, &o.BackendTLSPolicies, nil)
	case "ConfigMap":
		return decode(doc, &o.ConfigMaps, nil)
	case "Namespace":
		return decode(doc, &o.Namespaces, func(n *corev1.Namespace) {
			if n.Labels == nil { // as the API server does
				n.Labels = map[string]string{}
			}
			n.Labels[corev1.LabelMetadataName] = n.Name
		})
	case "Service":
		return decode(doc, &o.Services, nil)
	case "Secret":
		return decode(doc, &o.Secrets, func(s *corev1.Secret) {
			for k, v := range s.StringData { // as the API server does
				if s.Data == nil {
					s.Data = map[string][]byte{}
				}
				s.Data[k] = []byte(v)
			}
			s.StringData = nil
		})
	case "EndpointSlice":
		return decode(doc, &o.EndpointSlices, nil)
	default:
		return fmt.Errorf("kind %s of %s: %w", t.Kind, t.APIVersion, ErrUnknownKind)
	}
}

func decode[T any](doc []byte, into *[]*T, then func(*T)) error {
	v := new(T)
	if err := yaml.UnmarshalStrict(doc, v); err != nil {
		return err
	}
	if then != nil {
		then(v)
	}
	*into = append(*into, v)
	return nil
}

// firstFleetPort is where AssumeFacts begins to number the fleet's ports.
const firstFleetPort = 10000

// AssumeFacts gives every Gateway without facts an address of its own of the
// documentation range 192.0.2.0/24 and fleet ports, as if its infrastructure
// were there and the Envoys had acknowledged all of it.
func (o *Objects) AssumeFacts() {
	if o.Facts == nil {
		o.Facts = map[types.NamespacedName]ingest.Facts{}
	}
	gateways := slices.Clone(o.Gateways)
	slices.SortFunc(gateways, func(a, b *gwv1.Gateway) int { return ir.CompareNames(name(a), name(b)) })
	addr, port := netip.MustParseAddr("192.0.2.1"), int32(firstFleetPort)
	for _, g := range gateways {
		f := ingest.Facts{Addresses: []netip.Addr{addr}, FleetPorts: map[int32]int32{}, Programmed: map[int32]bool{}}
		ports := []int32{}
		for _, l := range g.Spec.Listeners {
			ports = append(ports, l.Port)
		}
		for _, l := range o.listenersOf(g) {
			ports = append(ports, l.Port)
		}
		for _, p := range ports {
			if f.FleetPorts[p] == 0 {
				f.FleetPorts[p], f.Programmed[p] = port, true
				port++
			}
		}
		addr = addr.Next()
		if _, ok := o.Facts[name(g)]; !ok {
			o.Facts[name(g)] = f
		}
	}
}

// listenersOf returns the listeners of the ListenerSets that name the Gateway,
// in an order that does not depend on theirs.
func (o *Objects) listenersOf(g *gwv1.Gateway) []gwv1.ListenerEntry {
	var out []gwv1.ListenerEntry
	for _, s := range o.ListenerSets {
		ref := s.Spec.ParentRef
		if string(ref.Name) == g.Name && (ref.Namespace == nil && s.Namespace == g.Namespace || ref.Namespace != nil && string(*ref.Namespace) == g.Namespace) {
			out = append(out, s.Spec.Listeners...)
		}
	}
	slices.SortStableFunc(out, func(a, b gwv1.ListenerEntry) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

func name(g *gwv1.Gateway) types.NamespacedName {
	return types.NamespacedName{Namespace: g.Namespace, Name: g.Name}
}
