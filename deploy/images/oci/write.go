package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations of a manifest in the index: the tag, by which OCI layouts name
// an image, and the full name, by which containerd does.
const (
	annotationRefName        = "org.opencontainers.image.ref.name"
	annotationContainerdName = "io.containerd.image.name"
)

// Write writes the image as an archive to path. A file that is there is
// replaced, at once, when the new one is complete.
func Write(path string, spec Spec) error {
	if err := write(path, spec); err != nil {
		return fmt.Errorf("writing image archive %s: %w", path, err)
	}
	return nil
}

func write(path string, spec Spec) (err error) {
	nodes, err := spec.nodes()
	if err != nil {
		return err
	}
	tags, err := spec.tags()
	if err != nil {
		return err
	}

	// The layer's digest is its name in the archive, so the layer must be
	// complete before its entry begins.
	layerFile, err := os.CreateTemp(filepath.Dir(path), ".layer-*")
	if err != nil {
		return err
	}
	defer os.Remove(layerFile.Name())
	defer layerFile.Close()
	l, err := writeLayer(layerFile, nodes, spec.Gzip)
	if err != nil {
		return err
	}
	if _, err := layerFile.Seek(0, io.SeekStart); err != nil {
		return err
	}

	config := spec.config(l)
	configBlob, err := newBlob(config)
	if err != nil {
		return err
	}
	manifestBlob, err := newBlob(spec.manifest(l, configBlob))
	if err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for i, ref := range spec.Refs {
		d := manifestBlob.descriptor(types.OCIManifestSchema1)
		d.Platform = &v1.Platform{OS: config.OS, Architecture: config.Architecture}
		d.Annotations = map[string]string{annotationRefName: tags[i], annotationContainerdName: ref}
		index.Manifests = append(index.Manifests, d)
	}
	docker := tarball.Manifest{{Config: blobPath(configBlob.digest), RepoTags: spec.Refs, Layers: []string{blobPath(l.digest)}}}

	out, err := os.CreateTemp(filepath.Dir(path), ".image-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(out.Name())
		}
	}()
	a := archive{tar.NewWriter(out)}
	a.add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	a.addJSON("index.json", index)
	a.addJSON("manifest.json", docker)
	a.add(blobPath(configBlob.digest), configBlob.bytes)
	a.add(blobPath(manifestBlob.digest), manifestBlob.bytes)
	a.copy(blobPath(l.digest), l.size, layerFile)
	if err := a.Close(); err != nil {
		return err
	}
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}

func (s *Spec) config(l layer) *v1.ConfigFile {
	arch := s.Arch
	if arch == "" {
		arch = "amd64"
	}
	never := v1.Time{Time: time.Unix(0, 0).UTC()}
	return &v1.ConfigFile{
		Architecture: arch,
		OS:           "linux",
		Created:      never,
		Config: v1.Config{
			User:       s.User,
			Entrypoint: s.Entrypoint,
			Cmd:        s.Cmd,
			Env:        s.env(),
			WorkingDir: s.WorkingDir,
			Labels:     s.Labels,
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{l.diffID}},
		History: []v1.History{{Created: never, CreatedBy: "porchlight images"}},
	}
}

func (s *Spec) manifest(l layer, config blob) *v1.Manifest {
	mediaType := types.OCIUncompressedLayer
	if s.Gzip {
		mediaType = types.OCILayer
	}
	return &v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        config.descriptor(types.OCIConfigJSON),
		Layers:        []v1.Descriptor{{MediaType: mediaType, Digest: l.digest, Size: l.size}},
	}
}

// blob is a document of the image that others name by its digest.
type blob struct {
	bytes  []byte
	digest v1.Hash
}

func newBlob(document any) (blob, error) {
	b, err := json.Marshal(document)
	if err != nil {
		return blob{}, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(b))
	return blob{b, digest}, err
}

func (b blob) descriptor(t types.MediaType) v1.Descriptor {
	return v1.Descriptor{MediaType: t, Digest: b.digest, Size: int64(len(b.bytes))}
}

func blobPath(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

// archive writes the entries of the outer tar; the first failure is what Close
// returns, because a tar.Writer keeps it.
type archive struct{ *tar.Writer }

func (a archive) add(name string, content []byte) {
	a.copy(name, int64(len(content)), bytes.NewReader(content))
}

func (a archive) addJSON(name string, document any) {
	b, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("%s of an image archive cannot be said in JSON: %v", name, err))
	}
	a.add(name, b)
}

func (a archive) copy(name string, size int64, content io.Reader) {
	if a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}) == nil {
		io.Copy(a, content)
	}
}
