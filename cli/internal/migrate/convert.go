package migrate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
)

const metallb = "metallb.io"

// kind is how objects of one kind are converted.
type kind struct {
	// rank orders what is written: what others refer to comes first.
	rank int
	// spec is our type of the spec.
	spec reflect.Type
	// convert changes what MetalLB and we have differently, or is nil.
	convert func(*conversion, *object)
	// former are MetalLB's fields that we do without, and why.
	former map[string]string
}

var kinds = map[string]kind{
	"Community":  {rank: 0, spec: reflect.TypeFor[v1beta1.CommunitySpec](), convert: (*conversion).community},
	"BFDProfile": {rank: 1, spec: reflect.TypeFor[v1beta1.BFDProfileSpec]()},
	"BGPPeer": {
		rank: 2, spec: reflect.TypeFor[v1beta1.BGPPeerSpec](), convert: (*conversion).peer,
		former: map[string]string{"disableMP": "a session carries its own family alone unless dualStackAddressFamily is set"},
	},
	"IPAddressPool":    {rank: 3, spec: reflect.TypeFor[v1beta1.IPAddressPoolSpec](), convert: (*conversion).pool},
	"BGPAdvertisement": {rank: 4, spec: reflect.TypeFor[v1beta1.BGPAdvertisementSpec](), convert: (*conversion).bgpAdvertisement},
	"L2Advertisement":  {rank: 5, spec: reflect.TypeFor[v1beta1.L2AdvertisementSpec](), convert: (*conversion).l2Advertisement},
}

// object is one of ours in the making. Its spec starts as MetalLB's.
type object struct {
	kind, name string
	origin     string // what it was
	source     string
	version    string // MetalLB's, without the group
	namespace  string // that it was in
	metadata   map[string]any
	spec       map[string]any
	had        []string // fields of the spec that it started with
	lines      []Line
	refused    bool // it cannot be written
}

// say adds a line about a field of the spec.
func (o *object) say(outcome Outcome, field, detail string, args ...any) {
	o.lines = append(o.lines, Line{outcome, "spec." + field, fmt.Sprintf(detail, args...)})
}

// refuse leaves the whole object unwritten, for a field of its spec.
func (o *object) refuse(field, detail string, args ...any) {
	o.refused = true
	o.say(NotKept, field, "the object is not written: "+detail, args...)
}

// unknown says of a field that it is not known. Without one that may limit what
// is selected, the object would be for more than it was, so it is refused.
func (o *object) unknown(field string) {
	if strings.Contains(strings.ToLower(field), "selector") || strings.HasPrefix(field, "serviceAllocation.") {
		o.refuse(field, "no such field is known, and without it more may be selected")
		return
	}
	o.say(NotKept, field, "no such field is known")
}

// set changes a field of the spec and says why.
func (o *object) set(field string, value any, detail string, args ...any) {
	o.spec[field] = value
	o.say(Changed, field, detail, args...)
}

// drop takes a field of the spec out and says why; how it was changed before
// is of no interest then.
func (o *object) drop(outcome Outcome, field, detail string, args ...any) {
	delete(o.spec, field)
	o.lines = slices.DeleteFunc(o.lines, func(l Line) bool { return l.Field == "spec."+field })
	o.say(outcome, field, detail, args...)
}

// conversion is a Convert under way.
type conversion struct {
	namespace string
	made      []*object
	entries   []Entry
	todo      []string
}

// Convert makes our objects, in the namespace, of the documents. The same
// documents in another order give the same result.
func Convert(documents []manifest.Document, namespace string) *Result {
	c := &conversion{namespace: namespace}
	var pools []*object // of the kind AddressPool, which is three of ours
	for _, d := range sorted(documents) {
		apiVersion, kind := text(d.Object, "apiVersion"), text(d.Object, "kind")
		group, version, _ := strings.Cut(apiVersion, "/")
		_, known := kinds[kind]
		switch {
		case group == metallb && known:
			c.made = append(c.made, c.read(d, kind, apiVersion, version))
		case group == metallb && kind == "AddressPool":
			pools = append(pools, c.read(d, kind, "AddressPool of "+apiVersion, version))
		case apiVersion == "v1" && kind == "ConfigMap" && legacyConfig(d.Object) != nil:
			pools = append(pools, c.configMap(d)...)
		default:
			c.other(d, group, kind, apiVersion)
		}
	}
	for _, p := range pools {
		c.addressPool(p)
	}
	return c.finish()
}

// sorted returns the documents by what they are, and then by where they were.
func sorted(documents []manifest.Document) []manifest.Document {
	type keyed struct {
		manifest.Document
		content []byte
	}
	all := make([]keyed, len(documents))
	for i, d := range documents {
		content, _ := json.Marshal(d.Object) // it was JSON
		all[i] = keyed{d, content}
	}
	key := func(d keyed) []string {
		m := fields(d.Object, "metadata")
		return []string{text(d.Object, "kind"), text(m, "name"), text(m, "namespace"), text(d.Object, "apiVersion"), d.Source}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		return cmp.Or(slices.Compare(key(a), key(b)), bytes.Compare(a.content, b.content))
	})
	out := make([]manifest.Document, len(all))
	for i, d := range all {
		// Conversion changes objects in place; the caller's stay as they are.
		out[i].Source = d.Source
		out[i].Object = clone(d.Object).(map[string]any)
	}
	return out
}

func clone(value any) any {
	switch v := value.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, item := range v {
			m[k] = clone(item)
		}
		return m
	case []any:
		s := make([]any, len(v))
		for i, item := range v {
			s[i] = clone(item)
		}
		return s
	}
	return value
}

// read takes an object of MetalLB's apart.
func (c *conversion) read(d manifest.Document, kind, origin, version string) *object {
	meta := fields(d.Object, "metadata")
	o := &object{
		kind: kind, name: text(meta, "name"), namespace: text(meta, "namespace"),
		origin: origin, source: d.Source, version: version,
		metadata: map[string]any{}, spec: fields(d.Object, "spec"),
	}
	if o.spec == nil {
		o.spec = map[string]any{}
		if d.Object["spec"] != nil {
			o.refused = true
			o.lines = append(o.lines, Line{NotKept, "spec", "the object is not written: it is not an object"})
		}
	}
	o.had = slices.Sorted(maps.Keys(o.spec))
	o.readMetadata(meta, c.namespace)
	for _, k := range slices.Sorted(maps.Keys(d.Object)) {
		switch k {
		case "apiVersion", "kind", "metadata", "spec":
		case "status":
			o.lines = append(o.lines, Line{LeftOut, k, "MetalLB wrote it"})
		default:
			o.lines = append(o.lines, Line{NotKept, k, "no such field is known"})
		}
	}
	return o
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// readMetadata keeps labels and annotations.
func (o *object) readMetadata(meta map[string]any, namespace string) {
	say := func(outcome Outcome, field, detail string) {
		o.lines = append(o.lines, Line{outcome, "metadata." + field, detail})
	}
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		switch k {
		case "name":
		case "namespace":
			if o.namespace != namespace {
				say(Changed, k, fmt.Sprintf("%s becomes %s", o.namespace, namespace))
			}
		case "labels", "annotations":
			values, ok := meta[k].(map[string]any)
			if !ok {
				say(NotKept, k, "it is not an object")
				continue
			}
			if _, ok := values[lastApplied]; ok {
				delete(values, lastApplied)
				say(LeftOut, k, lastApplied+" is kubectl's own")
			}
			for _, name := range slices.Sorted(maps.Keys(values)) {
				if _, ok := values[name].(string); !ok {
					delete(values, name)
					say(NotKept, k, name+" is not a string")
				}
			}
			if len(values) > 0 {
				o.metadata[k] = values
				say(Kept, k, "")
			}
		case "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName", "generation",
			"managedFields", "resourceVersion", "selfLink", "uid":
			say(LeftOut, k, "")
		case "finalizers", "ownerReferences":
			say(NotKept, k, "they are for the object that was")
		default:
			say(NotKept, k, "no such field is known")
		}
	}
}

// finish converts what was made, and puts everything in its order.
func (c *conversion) finish() *Result {
	slices.SortStableFunc(c.made, func(a, b *object) int {
		return cmp.Or(cmp.Compare(kinds[a.kind].rank, kinds[b.kind].rank), strings.Compare(a.name, b.name))
	})
	r := &Result{Namespace: c.namespace}
	written := map[[2]string]map[string]any{}
	for _, o := range c.made {
		c.convert(o)
		key := [2]string{o.kind, o.name}
		ours := map[string]any{
			"apiVersion": v1beta1.GroupVersion.String(), "kind": o.kind,
			"metadata": o.metadata, "spec": o.spec,
		}
		earlier, twice := written[key]
		switch {
		case o.refused:
		case twice && reflect.DeepEqual(earlier, ours):
			o.lines = []Line{{LeftOut, "", "it is there twice"}}
		case twice:
			o.lines = []Line{{NotKept, "", "the object is not written: another " + o.kind + " of the same name was"}}
		default:
			written[key] = ours
			r.Objects = append(r.Objects, ours)
		}
		r.Entries = append(r.Entries, Entry{o.kind, o.name, o.origin, o.source, o.lines})
	}
	r.Entries = append(r.Entries, c.entries...)
	for i := range r.Entries {
		r.Entries[i].sortLines()
	}
	slices.Sort(c.todo)
	r.ToDo = slices.Compact(c.todo)
	return r
}

// convert makes an object ours.
func (c *conversion) convert(o *object) {
	if o.name == "" {
		o.refused = true
		o.lines = append(o.lines, Line{NotKept, "metadata.name", "the object is not written: it has no name"})
	}
	o.metadata["name"] = o.name
	o.metadata["namespace"] = c.namespace
	k := kinds[o.kind]
	for _, f := range slices.Sorted(maps.Keys(k.former)) {
		if _, ok := o.spec[f]; ok {
			o.drop(LeftOut, f, "%s", k.former[f])
		}
	}
	var p pruned
	p.prune(o.spec, k.spec, "")
	for _, at := range p.unknown {
		o.unknown(at)
	}
	for _, at := range p.null {
		o.say(LeftOut, at, "it is null")
	}
	if err := check(o.spec, reflect.New(k.spec).Interface()); err != nil {
		o.refused = true
		o.lines = append(o.lines, Line{NotKept, "spec", "the object is not written: " + err.Error()})
	}
	if !o.refused && k.convert != nil {
		k.convert(c, o)
	}
	if o.refused {
		// What was kept of it is not written, either.
		o.lines = slices.DeleteFunc(o.lines, func(l Line) bool { return l.Outcome != NotKept })
		return
	}
	for _, f := range o.had {
		if !slices.ContainsFunc(o.lines, func(l Line) bool { return within(l.Field, "spec."+f) }) {
			o.say(Kept, f, "")
		}
	}
}

// within says whether a path is a field or leads into it.
func within(path, field string) bool {
	rest, ok := strings.CutPrefix(path, field)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// other says of an object that is not converted why it is not.
func (c *conversion) other(d manifest.Document, group, kind, apiVersion string) {
	meta := fields(d.Object, "metadata")
	name := text(meta, "name")
	if ns := text(meta, "namespace"); ns != "" {
		name = ns + "/" + name
	}
	line := Line{LeftOut, "", "it is not MetalLB's configuration"}
	switch {
	case group == v1beta1.GroupVersion.Group:
		line.Detail = "it is Porchlight's already"
	case group == metallb:
		line = metallbOther(kind)
	case group == "frrk8s."+metallb:
		line = Line{NotKept, "", "it configures FRR, which the speakers do not run"}
		if strings.HasSuffix(kind, "State") {
			line = Line{LeftOut, "", "MetalLB wrote it; the speakers write theirs"}
		}
	case kind == "ConfigMap" && text(meta, "name") == "bgpextras":
		line = Line{NotKept, "", "it configures FRR, which the speakers do not run"}
	case kind == "ConfigMap" && text(meta, "name") == "metallb-excludel2":
		line.Detail = "the speakers announce only on interfaces with a subnet of the address; L2Advertisements may name some"
	case kind == "Service":
		line.Detail = "its annotations under metallb.io/ and metallb.universe.tf/ are read as they are"
	}
	c.entries = append(c.entries, Entry{kind, name, apiVersion, d.Source, []Line{line}})
}

// metallbOther is about MetalLB's kinds that hold no configuration, or none
// that is known.
func metallbOther(kind string) Line {
	switch kind {
	case "ServiceL2Status", "ServiceBGPStatus", "BGPSessionStatus", "ConfigurationState", "ConfigurationStatus":
		return Line{LeftOut, "", "MetalLB wrote it; the speakers write theirs"}
	case "MetalLB":
		return Line{LeftOut, "", "it has the operator install MetalLB"}
	}
	return Line{NotKept, "", "Porchlight has nothing like this kind"}
}
