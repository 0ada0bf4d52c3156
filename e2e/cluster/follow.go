package cluster

import (
	"context"
	"fmt"
	"iter"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Follow returns every change, in order, that is made after it to the objects
// of the list's kind; those that are there it leaves in the list. An API server
// ends the watch of a client that is slow to read, and says nothing: the
// changes go on where it ended. They end with ctx; one of type [watch.Error] is
// the last before an error.
func (c *Cluster) Follow(ctx context.Context, list client.ObjectList, opts ...client.ListOption) (iter.Seq[watch.Event], error) {
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, fmt.Errorf("listing before a watch: %w", err)
	}
	version := list.GetResourceVersion()
	return func(yield func(watch.Event) bool) {
		for ctx.Err() == nil {
			from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}}
			w, err := c.Watch(ctx, list, append(opts, from)...)
			if err != nil {
				if ctx.Err() == nil {
					yield(watch.Event{Type: watch.Error, Object: &metav1.Status{Message: err.Error()}})
				}
				return
			}
			for e := range w.ResultChan() {
				if ctx.Err() != nil {
					break
				}
				if o, err := meta.Accessor(e.Object); err == nil {
					version = o.GetResourceVersion()
				}
				if !yield(e) || e.Type == watch.Error {
					w.Stop()
					return
				}
			}
			w.Stop()
		}
	}, nil
}
