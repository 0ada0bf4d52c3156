// Package live reads the objects of an installation from the API server, once
// or, for those who go on looking, from watches.
package live

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
)

// Read reads the objects of the installation in the namespace from the API
// server.
func Read(ctx context.Context, cfg *rest.Config, namespace string) (*inventory.Objects, error) {
	c, err := client.New(cfg, client.Options{Scheme: inventory.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("making the Kubernetes client: %w", err)
	}
	return Collect(ctx, c, namespace)
}

// Collect reads the objects of the installation in the namespace. Kinds that
// the cluster does not have, or that the reader may not list, are told of in
// Objects.Unread.
func Collect(ctx context.Context, c client.Reader, namespace string) (*inventory.Objects, error) {
	o := &inventory.Objects{Namespace: namespace}
	for _, k := range o.Kinds() {
		var opts []client.ListOption
		if k.In != "" {
			opts = append(opts, client.InNamespace(k.In))
		}
		err := c.List(ctx, k.List.(client.ObjectList), opts...)
		switch {
		case meta.IsNoMatchError(err):
			o.Unread = append(o.Unread, inventory.Unread{Kind: k.Name, Missing: true, Err: err.Error()})
		case apierrors.IsForbidden(err):
			o.Unread = append(o.Unread, inventory.Unread{Kind: k.Name, Err: err.Error()})
		case err != nil:
			return nil, fmt.Errorf("listing objects of kind %s: %w", k.Name, err)
		}
	}
	return o, nil
}

// Watch returns a reader of what the API server's watches say, until ctx ends.
func Watch(ctx context.Context, cfg *rest.Config, namespace string) (client.Reader, error) {
	byObject := map[client.Object]cache.ByObject{}
	scheme := inventory.Scheme()
	for _, k := range (&inventory.Objects{Namespace: namespace}).Kinds() {
		if k.In == "" {
			continue
		}
		gvks, _, err := scheme.ObjectKinds(k.List)
		if err != nil {
			return nil, fmt.Errorf("watching objects of kind %s: %w", k.Name, err)
		}
		object, err := scheme.New(gvks[0].GroupVersion().WithKind(k.Name))
		if err != nil {
			return nil, fmt.Errorf("watching objects of kind %s: %w", k.Name, err)
		}
		byObject[object.(client.Object)] = cache.ByObject{Namespaces: map[string]cache.Config{k.In: {}}}
	}
	c, err := cache.New(cfg, cache.Options{Scheme: scheme, ByObject: byObject, ReaderFailOnMissingInformer: false})
	if err != nil {
		return nil, fmt.Errorf("watching the cluster: %w", err)
	}
	go func() { _ = c.Start(ctx) }() // it ends with ctx, and has no other error
	if !c.WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("watching the cluster: %w", ctx.Err())
	}
	return c, nil
}
