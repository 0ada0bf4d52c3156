package api

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// Schemas are the versions of some CustomResourceDefinitions that the API
// server would serve.
type Schemas map[schema.GroupVersionKind]kind

// kind is what an object of one version of a definition is checked with.
type kind struct {
	structural *structural.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

// Load reads the definitions among the YAML files of the folders. It refuses
// a definition that the API server refuses: a schema that is not structural, a
// rule that does not compile, a rule that may cost too much.
func Load(folders ...string) (Schemas, error) {
	schemas := Schemas{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			content, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			if err := schemas.add(content); err != nil {
				return nil, fmt.Errorf("loading %s: %w", f, err)
			}
		}
	}
	return schemas, nil
}

func (s Schemas) add(content []byte) error {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(content, &crd); err != nil {
		return err
	}
	if crd.Kind != "CustomResourceDefinition" {
		return nil
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&crd, &internal, nil); err != nil {
		return err
	}
	// The API server fills this in when it stores the definition.
	for _, v := range internal.Spec.Versions {
		if v.Storage {
			internal.Status.StoredVersions = []string{v.Name}
		}
	}
	if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), &internal); len(errs) > 0 {
		return errs.ToAggregate()
	}
	for _, v := range crd.Spec.Versions {
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil); err != nil {
			return err
		}
		k := kind{}
		var err error
		if k.structural, err = structural.NewStructural(&props); err != nil {
			return err
		}
		if k.schema, _, err = validation.NewSchemaValidator(&props); err != nil {
			return err
		}
		k.rules = cel.NewValidator(k.structural, true, celconfig.PerCallLimit)
		s[schema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: crd.Spec.Names.Kind}] = k
	}
	return nil
}

// Create checks an object as if it were created with strict field validation,
// and returns what the API server would refuse it for. Its defaults are set.
func (s Schemas) Create(u *unstructured.Unstructured) field.ErrorList {
	k, ok := s[u.GroupVersionKind()]
	if !ok {
		return field.ErrorList{field.NotFound(field.NewPath("kind"), u.GroupVersionKind().String())}
	}
	var errs field.ErrorList
	for _, unknown := range pruning.PruneWithOptions(u.Object, k.structural, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		errs = append(errs, field.Invalid(field.NewPath(unknown), nil, "unknown field"))
	}
	defaulting.Default(u.Object, k.structural)
	errs = append(errs, validation.ValidateCustomResource(nil, u.Object, k.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, u.Object)...)
	if len(errs) > 0 {
		// The rules may count on the schema.
		return errs
	}
	if k.rules == nil {
		return nil
	}
	errs, _ = k.rules.Validate(context.Background(), nil, k.structural, u.Object, nil, celconfig.RuntimeCELCostBudget)
	return errs
}
