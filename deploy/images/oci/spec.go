package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// defaultPath is the PATH of an image whose Env has none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Spec is what an image holds and how it starts.
type Spec struct {
	// Refs are the full names of the image, registry and tag included:
	// "docker.io/porchlight-lb/porchlight:v1". At least one.
	Refs []string
	// Arch is the image's architecture in Go's words. Empty: amd64.
	Arch string
	// Files of the image. Missing parent directories are made with mode 0755.
	Files []File
	// Dirs are the directories that must be there even if empty, or whose mode
	// is not 0755.
	Dirs []Dir
	// User is the numeric user, or user:group, that the image runs as. Empty:
	// root.
	User string
	// Entrypoint and Cmd are the command line.
	Entrypoint, Cmd []string
	// Env are NAME=value pairs. PATH is set to the usual one if it is not
	// among them.
	Env []string
	// WorkingDir is the directory the image starts in. Empty: /.
	WorkingDir string
	// Labels of the image.
	Labels map[string]string
	// Gzip compresses the layer: a third of the size, but slower to write and
	// to import. Off for images that stay on the machine.
	Gzip bool
}

// File is a regular file of an image.
type File struct {
	// Host is the file's path on this machine. A symbolic link is followed.
	Host string
	// Content is the file's content where Host is empty.
	Content []byte
	// Path is the file's absolute path in the image.
	Path string
	// Mode holds the permission bits, setuid, setgid and sticky among them.
	// Zero: those of the host's file, or 0644 for a Content.
	Mode fs.FileMode
	// Capabilities are the file capabilities, permitted and effective, as
	// numbers such as unix.CAP_NET_RAW.
	Capabilities []int
}

// Dir is a directory of an image.
type Dir struct {
	// Path is absolute.
	Path string
	// Mode holds the permission bits. Zero: 0755.
	Mode fs.FileMode
}

// node is one entry of the layer: a directory where file is nil.
type node struct {
	path string
	mode fs.FileMode
	file *File
}

// nodes lists the entries of the layer sorted by path, so that a directory
// comes before what is in it.
func (s *Spec) nodes() ([]node, error) {
	all := map[string]node{}
	for _, d := range s.Dirs {
		p, err := cleanPath(d.Path)
		if err != nil {
			return nil, err
		}
		if _, twice := all[p]; twice {
			return nil, fmt.Errorf("%s is in the image twice", d.Path)
		}
		mode := d.Mode
		if mode == 0 {
			mode = 0o755
		}
		all[p] = node{path: p, mode: mode}
	}
	for i := range s.Files {
		f := &s.Files[i]
		p, err := cleanPath(f.Path)
		if err != nil {
			return nil, err
		}
		if _, twice := all[p]; twice {
			return nil, fmt.Errorf("%s is in the image twice", f.Path)
		}
		all[p] = node{path: p, mode: f.Mode, file: f}
	}
	given := make([]string, 0, len(all))
	for p := range all {
		given = append(given, p)
	}
	for _, p := range given {
		for parent := path.Dir(p); parent != "."; parent = path.Dir(parent) {
			n, there := all[parent]
			if there && n.file != nil {
				return nil, fmt.Errorf("/%s is a file, and /%s is to be in it", parent, p)
			}
			if !there {
				all[parent] = node{path: parent, mode: 0o755}
			}
		}
	}
	list := make([]node, 0, len(all))
	for _, n := range all {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b node) int { return strings.Compare(a.path, b.path) })
	return list, nil
}

// cleanPath gives an absolute path the form that layers use: no leading slash.
func cleanPath(p string) (string, error) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		return "", fmt.Errorf("path %q in the image: want an absolute, clean path", p)
	}
	return p[1:], nil
}

// tags returns the tag of each of the image's names.
func (s *Spec) tags() ([]string, error) {
	if len(s.Refs) == 0 {
		return nil, errors.New("the image has no name")
	}
	tags := make([]string, len(s.Refs))
	for i, ref := range s.Refs {
		t, err := name.NewTag(ref, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("name of the image: %w", err)
		}
		tags[i] = t.TagStr()
	}
	return tags, nil
}

// env returns the environment, PATH included.
func (s *Spec) env() []string {
	for _, e := range s.Env {
		if strings.HasPrefix(e, "PATH=") {
			return s.Env
		}
	}
	return append([]string{defaultPath}, s.Env...)
}
