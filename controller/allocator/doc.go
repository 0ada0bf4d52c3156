// Package allocator decides which Service gets which address.
//
// It is a state machine: events go in ([Allocator.SetPool],
// [Allocator.DeletePool], [Allocator.Adopt], [Allocator.SetService],
// [Allocator.DeleteService], [Allocator.SetNamespace]), and
// [Allocator.Changes] says what differs from the last time it was asked. It
// does no I/O, knows no clock, has no lock and no randomness; one goroutine
// owns it. The same events give the same decisions, byte for byte.
//
// What it promises:
//
//   - No address has two holders, unless both may share it.
//   - A Service keeps its addresses for as long as they are legal: in a pool
//     that admits the Service, and in accord with what the Service asks for.
//     Adoption of recorded addresses comes before anything new is given; where
//     two Services claim one address and may not share it, the older keeps it.
//   - An address that was never used is given first, in ascending order; then
//     the one that was released longest ago.
//   - Services that wait are served as soon as they can be, oldest first. A
//     Service waits on named topics (a pool's free space, an address, a sharing
//     key), so an event costs in proportion to what it concerns.
//   - Free space is kept as intervals: an allocation takes O(log n) of the
//     fragments of a pool, never of its addresses.
//
// Files: blocks.go parses and computes with ranges, space.go is the free space
// of a pool, pool.go and overlap.go are the pools, service.go what a Service
// asks for, request.go parses that, sharing.go who may share, waiting.go who
// waits for what, fill.go the decision for one Service, and allocator.go ties
// them to events.
package allocator
