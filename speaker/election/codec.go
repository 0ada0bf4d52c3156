package election

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// The wire form of a Message: a version byte; a table of strings, which the
// rest refers to by index; states; claims. Numbers are uvarints, strings and
// addresses have their length before them. 5,000 claims take 85 KB.

const wireVersion = 2

const (
	// maxSplit is the size of the pieces of Split: a UDP packet of memberlist
	// with its own headers and encryption.
	maxSplit = 1100
	// maxMessage and maxText bound what is decoded: ten times the claims that
	// a cluster has, and the longest name that Kubernetes gives.
	maxMessage = 1 << 20
	maxText    = 253
	// maxCount bounds terms and versions, which have to have successors.
	maxCount = 1 << 62
)

// Marshal encodes the message.
func (m Message) Marshal() []byte {
	w := writer{index: map[string]uint64{}}
	w.number(uint64(len(m.States)))
	for _, s := range m.States {
		w.state(s)
	}
	w.number(uint64(len(m.Claims)))
	for _, c := range m.Claims {
		w.claim(c)
	}
	out := binary.AppendUvarint([]byte{wireVersion}, uint64(len(w.table)))
	for _, s := range w.table {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return append(out, w.body...)
}

// Split encodes the message in pieces that each fit a packet, as far as one
// state does. The states come first, and claims go along with the last of them.
func (m Message) Split() [][]byte {
	var out [][]byte
	var piece Message
	w := writer{index: map[string]uint64{}}
	// add encodes one more thing, and cuts before it where it does not fit.
	add := func(encode func()) {
		// A version, and three counts of two bytes.
		const head = 7
		if encode(); head+w.named+len(w.body) > maxSplit && !piece.Empty() {
			out = append(out, piece.Marshal())
			piece = Message{}
			w = writer{index: map[string]uint64{}}
			encode()
		}
	}
	for _, s := range m.States {
		add(func() { w.state(s) })
		piece.States = append(piece.States, s)
	}
	for _, c := range m.Claims {
		add(func() { w.claim(c) })
		piece.Claims = append(piece.Claims, c)
	}
	if piece.Empty() {
		return out
	}
	return append(out, piece.Marshal())
}

type writer struct {
	table []string
	index map[string]uint64
	named int // bytes of the table
	body  []byte
}

func (w *writer) state(s NodeState) {
	w.text(s.Node)
	w.number(s.Run)
	w.number(s.Version)
	w.bool(s.Draining)
	w.bool(s.ProxyDown)
	w.number(uint64(len(s.Interfaces)))
	for _, i := range s.Interfaces {
		w.text(i.Name)
		w.body = append(w.body, i.MAC[:]...)
		w.number(uint64(len(i.Prefixes)))
		for _, p := range i.Prefixes {
			w.addr(p.Addr())
			w.number(uint64(p.Bits()))
		}
	}
}

func (w *writer) claim(c Claim) {
	w.addr(c.Address)
	w.number(c.Term)
	w.text(c.Node)
	w.number(c.Run)
	w.number(uint64(c.Phase))
	w.text(c.To)
	w.number(uint64(c.Weight))
	w.number(uint64(slices.Index(Causes[:], c.Cause)))
}

func (w *writer) number(n uint64) { w.body = binary.AppendUvarint(w.body, n) }

func (w *writer) bool(b bool) {
	if b {
		w.body = append(w.body, 1)
	} else {
		w.body = append(w.body, 0)
	}
}

func (w *writer) text(s string) {
	i, ok := w.index[s]
	if !ok {
		i = uint64(len(w.table))
		w.index[s] = i
		w.table = append(w.table, s)
		w.named += 2 + len(s)
	}
	w.number(i)
}

func (w *writer) addr(a netip.Addr) {
	b := a.AsSlice()
	w.body = append(append(w.body, byte(len(b))), b...)
}

var errTruncated = errors.New("truncated")

// Unmarshal decodes a message of the network. What it returns takes memory in
// proportion to b, and it refuses more than 1 MiB.
func Unmarshal(b []byte) (Message, error) {
	if len(b) > maxMessage {
		return Message{}, fmt.Errorf("decoding a gossip message: %d bytes", len(b))
	}
	if len(b) == 0 || b[0] != wireVersion {
		return Message{}, fmt.Errorf("decoding a gossip message: not of version %d", wireVersion)
	}
	r := reader{rest: b[1:]}
	m := r.message()
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.rest))
	}
	if r.err != nil {
		return Message{}, fmt.Errorf("decoding a gossip message: %w", r.err)
	}
	return m, nil
}

type reader struct {
	rest  []byte
	table []string
	err   error
}

func (r *reader) message() (m Message) {
	for range r.length(1) {
		n := r.length(1)
		if n > maxText {
			r.fail(fmt.Errorf("a string of %d bytes", n))
			return m
		}
		r.table = append(r.table, string(r.take(n)))
	}
	for range r.length(6) {
		if r.err != nil {
			return m
		}
		s := NodeState{Node: r.name(), Run: r.number(), Version: r.number(), Draining: r.bool(), ProxyDown: r.bool()}
		for range r.length(8) {
			i := Interface{Name: r.text()}
			copy(i.MAC[:], r.take(6))
			for range r.length(6) {
				addr, bits := r.addr(), r.number()
				if bits > uint64(addr.BitLen()) {
					r.fail(fmt.Errorf("prefix length %d of %s", bits, addr))
					return m
				}
				i.Prefixes = append(i.Prefixes, netip.PrefixFrom(addr, int(bits)))
			}
			s.Interfaces = append(s.Interfaces, i)
		}
		if s.Run > maxCount || s.Version > maxCount {
			r.fail(fmt.Errorf("state of %s: run %d, version %d", s.Node, s.Run, s.Version))
		}
		m.States = append(m.States, s)
	}
	for range r.length(11) {
		c := Claim{Address: r.addr(), Term: r.number(), Node: r.name(), Run: r.number(), Phase: Phase(min(r.number(), 255)), To: r.text()}
		c.Weight = int(min(r.number(), 1<<20))
		cause := r.number()
		switch {
		case r.err != nil:
			return m
		case c.Term == 0 || c.Term > maxCount || c.Run > maxCount || c.Phase > Held || cause >= uint64(len(Causes)):
			r.fail(fmt.Errorf("claim of %s: term %d, run %d, phase %d, cause %d", c.Address, c.Term, c.Run, c.Phase, cause))
			return m
		}
		c.Cause = Causes[cause]
		m.Claims = append(m.Claims, c)
	}
	return m
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail(errTruncated)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// length reads a number of things of which each takes so many bytes or more.
func (r *reader) length(each uint64) int {
	n := r.number()
	if n > uint64(len(r.rest))/each {
		r.fail(errTruncated)
		return 0
	}
	return int(n)
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail(errTruncated)
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) bool() bool {
	b := r.take(1)
	if len(b) == 1 && b[0] > 1 {
		r.fail(fmt.Errorf("%d is no boolean", b[0]))
	}
	return len(b) == 1 && b[0] == 1
}

func (r *reader) text() string {
	i := r.number()
	if r.err == nil && i >= uint64(len(r.table)) {
		r.fail(fmt.Errorf("string %d of %d", i, len(r.table)))
	}
	if r.err != nil {
		return ""
	}
	return r.table[i]
}

func (r *reader) name() string {
	s := r.text()
	if r.err == nil && s == "" {
		r.fail(errors.New("a node without a name"))
	}
	return s
}

func (r *reader) addr() netip.Addr {
	n := r.take(1)
	if len(n) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(r.take(int(n[0])))
	if !ok {
		r.fail(fmt.Errorf("an address of %d bytes", n[0]))
	}
	return a
}
