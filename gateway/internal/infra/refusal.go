package infra

import (
	"errors"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// refusal returns why the API server, or what it asks, does not admit an object
// as it is; false where an error may be over when it is tried again.
func refusal(err error) (string, bool) {
	if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) && !apierrors.IsBadRequest(err) {
		return "", false
	}
	var status apierrors.APIStatus
	errors.As(err, &status) // as the functions above do
	return status.Status().Message, true
}

// report says whose Services are refused where others are than before, or for
// another reason. results are the errors of the Gateways.
func (t *Task) report(gateways []Wanted, results []error) {
	now := map[types.NamespacedName]string{}
	for i := range gateways {
		if why, refused := refusal(results[i]); refused {
			now[gateways[i].Name] = why
		}
	}
	if !maps.Equal(now, t.refused) {
		t.refused = now
		t.Refused.Put(now)
	}
}
