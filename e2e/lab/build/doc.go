// Package build makes what every lab of a user shares, once, in a cache:
// Kubernetes, etcd and CoreDNS from their modules, the images that the cluster
// and the conformance suite name, and a containerd root with those images
// already unpacked.
//
// An entry of the cache is named by a hash of all that it is made of, appears
// whole or not at all, and never changes afterwards. Old entries can be deleted
// while no lab runs.
package build
