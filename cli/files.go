package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
)

// readManifests reads the objects of files, of folders, but not of those below
// them, and of stdin where a file is named "-".
func readManifests(stdin io.Reader, files []string) ([]manifest.Document, error) {
	var all []manifest.Document
	for _, f := range files {
		if f == "-" {
			content, err := io.ReadAll(stdin)
			if err != nil {
				return nil, fmt.Errorf("reading standard input: %w", err)
			}
			documents, err := manifest.Read("standard input", content)
			if err != nil {
				return nil, err
			}
			all = append(all, documents...)
			continue
		}
		paths, err := manifestFiles(f)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("reading manifests: %w", err)
			}
			documents, err := manifest.Read(path, content)
			if err != nil {
				return nil, err
			}
			all = append(all, documents...)
		}
	}
	return all, nil
}

// manifestFiles returns a file, or the files of YAML and JSON in a folder.
func manifestFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
		some, err := filepath.Glob(filepath.Join(path, pattern))
		if err != nil {
			return nil, fmt.Errorf("reading manifests: %w", err)
		}
		files = append(files, some...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("reading manifests: no file in %s ends in .yaml, .yml or .json", path)
	}
	slices.Sort(files)
	return files, nil
}
