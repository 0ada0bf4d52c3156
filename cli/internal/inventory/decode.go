package inventory

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
)

// Scheme knows every kind of Objects.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme,
		v1beta1.AddToScheme, gatewayv1.Install,
	} {
		if err := add(s); err != nil {
			panic(fmt.Sprintf("registering API types: %v", err)) // two types of one kind: a mistake in the lines above
		}
	}
	return s
}

// Decode reads the objects of manifests; those of kinds that Objects does not
// have are left out, and so are objects outside of the namespace that their kind
// is read in. Of objects of one name the last counts, as with kubectl
// apply. Where strict is set, a field that a kind does not have
// is an error; what kubectl printed may have fields that are newer than this
// program.
func Decode(documents []manifest.Document, namespace string, strict bool) (*Objects, error) {
	o := &Objects{Namespace: namespace}
	if err := o.add(documents, strict); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Objects) add(documents []manifest.Document, strict bool) error {
	scheme := Scheme()
	byName := map[string]Kind{}
	for _, k := range o.Kinds() {
		byName[k.Name] = k
	}
	found, at := map[string][]runtime.Object{}, map[string]int{}
	for _, d := range documents {
		apiVersion, _ := d.Object["apiVersion"].(string)
		kind, _ := d.Object["kind"].(string)
		gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
		if _, ok := byName[kind]; !ok || !scheme.Recognizes(gvk) {
			continue
		}
		object, err := scheme.New(gvk)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", kind, d.Source, err)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(d.Object, object, strict); err != nil {
			return fmt.Errorf("%s: %w", describe(d), err)
		}
		accessor, err := meta.Accessor(object)
		if err != nil {
			return fmt.Errorf("%s: %w", describe(d), err)
		}
		namespaced := !slices.Contains([]string{"Node", "Namespace", "GatewayClass"}, kind)
		if namespaced && accessor.GetNamespace() == "" {
			accessor.SetNamespace("default") // as kubectl does
			if byName[kind].In == o.Namespace {
				accessor.SetNamespace(o.Namespace)
			}
		}
		if in := byName[kind].In; in != "" && accessor.GetNamespace() != in {
			continue
		}
		key := Ref(kind, accessor.GetNamespace(), accessor.GetName())
		if i, again := at[key]; again {
			found[kind][i] = object
			continue
		}
		at[key] = len(found[kind])
		found[kind] = append(found[kind], object)
	}
	for _, k := range o.Kinds() {
		if err := meta.SetList(k.List, found[k.Name]); err != nil {
			return fmt.Errorf("reading objects of kind %s: %w", k.Name, err)
		}
	}
	return nil
}

func describe(d manifest.Document) string {
	kind, _ := d.Object["kind"].(string)
	m, _ := d.Object["metadata"].(map[string]any)
	name, _ := m["name"].(string)
	namespace, _ := m["namespace"].(string)
	return fmt.Sprintf("reading %s of %s", Ref(kind, namespace, name), d.Source)
}
