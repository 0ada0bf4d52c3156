package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// pruned is what prune took out, by path.
type pruned struct {
	unknown, null []string
}

// prune takes out of value every field that t does not have in JSON, in the
// spelling that it has there, and every null, which the API server refuses
// where a client's decoder takes it for a field that is not set.
func (p *pruned) prune(value any, t reflect.Type, path string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		var known map[string]reflect.Type
		switch t.Kind() {
		case reflect.Struct:
			known = jsonFields(t)
		case reflect.Map:
			known = map[string]reflect.Type{}
			for k := range v {
				known[k] = t.Elem()
			}
		default:
			return value
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			at := strings.TrimPrefix(path+"."+k, ".")
			switch field, ok := known[k]; {
			case !ok:
				p.unknown = append(p.unknown, at)
				delete(v, k)
			case v[k] == nil:
				p.null = append(p.null, at)
				delete(v, k)
			default:
				v[k] = p.prune(v[k], field, at)
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return value
		}
		some := v[:0]
		for i, item := range v {
			at := fmt.Sprintf("%s[%d]", path, i)
			if item == nil {
				p.null = append(p.null, at)
				continue
			}
			some = append(some, p.prune(item, t.Elem(), at))
		}
		return some
	}
	return value
}

// jsonFields are the fields of a struct by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			all[name] = t.Field(i).Type
		}
	}
	return all
}

// check says in what a value is not of the type that into points to. Of the
// values, the message has at most a number or a duration.
func check(value any, into any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	err = json.Unmarshal(b, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s has a value of another type, %s", wrong.Field, wrong.Value)
	}
	return err
}
