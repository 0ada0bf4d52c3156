// Package oci writes container images as archives, without a container
// engine: an image is a list of files, nothing is run to make it.
//
// The archive is an OCI image layout in a tar file, as `ctr images import` and
// `podman load` read it, and carries beside it the manifest.json that `docker
// load` reads. The same Spec over the same files gives the same bytes: entries
// are sorted, belong to root, and have no time.
package oci
