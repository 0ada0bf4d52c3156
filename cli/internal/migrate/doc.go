// Package migrate turns MetalLB's configuration into ours: the objects of
// group metallb.io, and the ConfigMap of versions before 0.13. Convert
// makes a Result of the objects of manifests, and a Result writes itself as
// manifests and as a report that says of every field whether it was kept. It
// reads and writes nothing itself, and needs no cluster.
//
// A field is converted where MetalLB and our API server disagree about it.
// What both refuse is left as it is, for the API server to refuse by its name;
// what MetalLB takes and we cannot is not written, and the report says why.
// No report has the value of a password or of a field that is not known.
package migrate

// text returns the string at a field, or none.
func text(object map[string]any, field string) string {
	s, _ := object[field].(string)
	return s
}

// fields returns the object at a field, or none.
func fields(object map[string]any, field string) map[string]any {
	m, _ := object[field].(map[string]any)
	return m
}
