package status

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// fieldManager owns what reports have beside their status.
const fieldManager = "porchlight-speaker"

// makeReport makes an object of ours before its status is written. One that is
// there, of a run or an installation before this one, gets the owner of this
// one: else it would go with that.
func makeReport(ctx context.Context, api rest.Interface, resource, kind string, meta metav1.ObjectMeta) error {
	body, err := json.Marshal(metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: kind}, ObjectMeta: meta,
	})
	if err != nil {
		return err
	}
	err = api.Post().Namespace(meta.Namespace).Resource(resource).Body(body).Do(ctx).Error()
	if apierrors.IsAlreadyExists(err) {
		err = api.Patch(types.ApplyPatchType).Namespace(meta.Namespace).Resource(resource).Name(meta.Name).
			Param("fieldManager", fieldManager).Param("force", "true").Body(body).Do(ctx).Error()
	}
	if err != nil {
		return fmt.Errorf("making %s/%s: %w", resource, meta.Name, err)
	}
	return nil
}
