package ingest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verdict is one condition in the making: whether it holds, why, and in words.
type verdict struct {
	ok      bool
	reason  string
	message string
}

// yes and no make verdicts from the reasons of any kind of condition.
func yes[R ~string](reason R, message string) verdict { return verdict{true, string(reason), message} }
func no[R ~string](reason R, message string) verdict  { return verdict{false, string(reason), message} }

// condition renders a verdict. LastTransitionTime is left to the caller of
// Translate.
func condition[T ~string](t T, v verdict, generation int64) metav1.Condition {
	c := metav1.Condition{
		Type:               string(t),
		Status:             metav1.ConditionFalse,
		ObservedGeneration: generation,
		Reason:             v.reason,
		Message:            v.message,
	}
	if v.ok {
		c.Status = metav1.ConditionTrue
	}
	return c
}
