// Package apply brings objects that the gateway makes to their wanted form by
// server-side apply, and leaves alone those that have it: at rest nothing is
// written.
package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// owner is the field manager of what the gateway applies.
const owner = client.FieldOwner("porchlight-gateway")

// applied is the annotation with the hash of what was applied, by which also
// a field that is no longer wanted is noticed.
const applied = names.Prefix + "applied"

// Object makes wanted, whose kind the client's scheme knows, unless the object
// in the cluster is as wanted. It sets an annotation on wanted, and reports
// whether it wrote.
func Object(ctx context.Context, c client.Client, wanted client.Object) (bool, error) {
	gvk, err := apiutil.GVKForObject(wanted, c.Scheme())
	if err != nil {
		return false, err
	}
	key := client.ObjectKeyFromObject(wanted)
	if err := stamp(wanted); err != nil {
		return false, fmt.Errorf("applying %s %s: %w", gvk.Kind, key, err)
	}
	content, err := unstructuredContent(wanted)
	if err != nil {
		return false, fmt.Errorf("applying %s %s: %w", gvk.Kind, key, err)
	}
	live := reflect.New(reflect.TypeOf(wanted).Elem()).Interface().(client.Object)
	switch err := c.Get(ctx, key, live); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return false, fmt.Errorf("reading %s %s: %w", gvk.Kind, key, err)
	default:
		has, err := unstructuredContent(live)
		if err != nil {
			return false, fmt.Errorf("reading %s %s: %w", gvk.Kind, key, err)
		}
		if live.GetAnnotations()[applied] == wanted.GetAnnotations()[applied] && within(content, has) {
			return false, nil
		}
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(gvk)
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), owner, client.ForceOwnership); err != nil {
		return false, fmt.Errorf("applying %s %s: %w", gvk.Kind, key, err)
	}
	return true, nil
}

func unstructuredContent(o client.Object) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	return content, nil
}

// within says whether live has everything that wanted sets. Lists must be of
// one length: what the API server adds, it adds within their elements.
func within(wanted, live any) bool {
	switch w := wanted.(type) {
	case nil:
		return true
	case map[string]any:
		l, ok := live.(map[string]any)
		for k, v := range w {
			if !ok || !within(v, l[k]) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok || len(l) != len(w) {
			return len(w) == 0 && live == nil
		}
		for i := range w {
			if !within(w[i], l[i]) {
				return false
			}
		}
		return true
	default:
		return wanted == live
	}
}

func stamp(o client.Object) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	a := map[string]string{}
	for k, v := range o.GetAnnotations() {
		a[k] = v
	}
	a[applied] = hex.EncodeToString(sum[:8])
	o.SetAnnotations(a)
	return nil
}
