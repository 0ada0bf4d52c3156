// Package bfd decides what Bidirectional Forwarding Detection says and hears:
// RFC 5880 in asynchronous mode, over one hop (RFC 5881) and over several
// (RFC 5883), with the echo function. It has no sockets, keeps no clock and
// takes no lock.
//
// A Table holds the sessions of a node. What happens goes in through Add,
// Change, Remove, Receive, ReceiveEcho and Advance, each with the time at which
// it happens; what is to be done comes out of Ready, and Next says when Advance
// is due.
//
// What the RFCs leave open is decided so:
//
//   - Demand mode is never asked for. A peer that asks for it is heard: periodic
//     packets cease while both sides are Up, polls and finals do not.
//   - Authentication is not supported: packets that carry it are dropped.
//   - What is known of a peer is forgotten, all of it, when the detection time
//     passes: section 6.8.1 asks for that of the discriminator alone, but a
//     peer that asked for no packets and then died could never be reached.
//   - Echo takes over once the first echo packet came back in this Up. Until
//     then the session lives by control packets at their full rate, so that a
//     router that does not forward back costs the echo and not the session.
package bfd
