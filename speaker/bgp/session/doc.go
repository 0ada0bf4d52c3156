// Package session is one BGP session as a state machine (RFC 4271), from the
// moment its TCP connection is up: what is received goes in, messages to write
// come out. It does no I/O and keeps no clock; time is an argument, measured
// from any fixed moment. Messages are built and read with GoBGP's codec.
//
// A Session announces and does not learn. An UPDATE that the peer sends is
// neither decoded nor kept: its content can neither break the session nor cost
// memory, however many routes there are. GoBGP's server, in contrast, keeps
// every route of a peer in its Adj-RIB-In, also those that a policy rejects.
//
// What is announced is handed over as differences. As long as a difference is
// not written, a later one for the same prefix replaces it; prefixes with
// equal attributes share UPDATEs.
package session
