package translate

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/cli/internal/advice"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/paint"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// WriteEnvoy writes the configuration of the Envoys, a YAML document for each
// resource, in Envoy's own words. Certificates and keys are not in it.
func (r *Result) WriteEnvoy(w io.Writer) error {
	var b bytes.Buffer
	for _, f := range r.Fleets {
		for _, each := range f.Resources {
			text, err := xds.YAML(each)
			if err != nil {
				return fmt.Errorf("writing the configuration of EnvoyFleet %s: %w", f.Name, err)
			}
			kind := string(each.Type[strings.LastIndexByte(string(each.Type), '.')+1:])
			fmt.Fprintf(&b, "---\n# EnvoyFleet %s: %s %s\n%s", f.Name, kind, each.Name, text)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteStatuses writes the statuses, a YAML document for each object.
func (r *Result) WriteStatuses(w io.Writer) error {
	var b bytes.Buffer
	for _, s := range r.Statuses {
		text, err := yaml.Marshal(s)
		if err != nil {
			return fmt.Errorf("writing the status of %s: %w", inventory.Ref(s.Kind, s.Namespace, s.Name), err)
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// bad says whether a condition tells of trouble.
func bad(c metav1.Condition) bool {
	switch c.Type {
	case "Accepted", "Programmed", "ResolvedRefs":
		return c.Status != metav1.ConditionTrue
	case "Conflicted":
		return c.Status != metav1.ConditionFalse
	}
	return false
}

// Trouble says whether anything is not as its author wants it.
func (r *Result) Trouble() bool {
	for _, s := range r.Statuses {
		for _, part := range s.conditions {
			for _, c := range part.list {
				if bad(c) {
					return true
				}
			}
		}
	}
	return false
}

// WriteReport writes, for a person, whether each object is accepted, and what
// was assumed.
func (r *Result) WriteReport(w io.Writer, p paint.Paint) error {
	var b strings.Builder
	for _, s := range r.Statuses {
		ref := inventory.Ref(s.Kind, s.Namespace, s.Name)
		fine := true
		for _, part := range s.conditions {
			for _, c := range part.list {
				if !bad(c) {
					continue
				}
				if fine {
					fmt.Fprintf(&b, "%s  %s\n", p.Bad("BROKEN"), p.Title(ref))
				}
				fine = false
				where := c.Type
				if part.part != "" {
					where = part.part + ": " + c.Type
				}
				fmt.Fprintf(&b, "        %s is %s, %s: %s\n", where, c.Status, p.Bad(c.Reason), c.Message)
				if fix := advice.For(reason.Reason(c.Reason)); fix != "" {
					fmt.Fprintf(&b, "          %s\n", p.Faint(fix))
				}
			}
		}
		if fine {
			fmt.Fprintf(&b, "%s  %s\n", p.Good("ok    "), ref)
		}
	}
	for _, f := range r.Fleets {
		counts := map[string]int{}
		for _, each := range f.Resources {
			counts[string(each.Type[strings.LastIndexByte(string(each.Type), '.')+1:])]++
		}
		fmt.Fprintf(&b, "EnvoyFleet %s is given listeners: %d, route configurations: %d, clusters: %d\n",
			f.Name, counts["Listener"], counts["RouteConfiguration"], counts["Cluster"])
	}
	for _, each := range []struct {
		what string
		list []string
	}{{"assumed, since every cluster has them", r.Assumed}, {"left out, since the gateway does not read them", r.LeftOut}} {
		if len(each.list) > 0 {
			fmt.Fprintf(&b, "%s: %s\n", each.what, strings.Join(each.list, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
