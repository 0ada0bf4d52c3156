package bfd

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

// TestWire holds the layout of RFC 5880 section 4.1 against octets written by
// hand.
func TestWire(t *testing.T) {
	for name, c := range map[string]struct {
		octets string
		packet Packet
	}{
		"down": {
			"20400318 00000001 00000000 000f4240 000493e0 00000000",
			Packet{State: Down, DetectMult: 3, MyDiscriminator: 1, DesiredMinTx: time.Second, RequiredMinRx: 300 * time.Millisecond},
		},
		"up, poll, echo": {
			"21e0ff18 01020304 05060708 0000c350 00002710 0000c350",
			Packet{
				Diag: ControlDetectionTimeExpired, State: Up, Poll: true, DetectMult: 255, MyDiscriminator: 0x01020304, YourDiscriminator: 0x05060708,
				DesiredMinTx: 50 * time.Millisecond, RequiredMinRx: 10 * time.Millisecond, RequiredMinEchoRx: 50 * time.Millisecond,
			},
		},
		"every flag that may be": {
			"3f9a0118 ffffffff 00000001 ffffffff ffffffff ffffffff",
			Packet{
				Diag: 31, State: Init, Final: true, ControlPlaneIndependent: true, Demand: true, DetectMult: 1, MyDiscriminator: 1<<32 - 1, YourDiscriminator: 1,
				DesiredMinTx: slowest, RequiredMinRx: slowest, RequiredMinEchoRx: slowest,
			},
		},
	} {
		want, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(c.octets), []byte(" "), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.packet.Marshal(); !bytes.Equal(got, want) {
			t.Errorf("%s: marshals to %x, want %x", name, got, want)
		}
		if got, drop := Unmarshal(want); drop != "" || got != c.packet {
			t.Errorf("%s: unmarshals to %+v, %q", name, got, drop)
		}
	}
}

// TestDropsWithoutSession is RFC 5880 section 6.8.6, its paragraphs that need
// no session.
func TestDropsWithoutSession(t *testing.T) {
	good := Packet{State: Up, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: 2, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	for _, c := range []struct {
		sentence string
		spoil    func([]byte) []byte
		want     Drop
	}{
		{"a good packet is taken", func(b []byte) []byte { return b }, ""},
		{"octets after the packet are ignored", func(b []byte) []byte { return append(b, 0, 0) }, ""},
		{"If the version number is not correct (1), the packet MUST be discarded", func(b []byte) []byte { b[0] = 2 << 5; return b }, BadVersion},
		{"version 0", func(b []byte) []byte { b[0] = 0; return b }, BadVersion},
		{"Length less than the minimum (24)", func(b []byte) []byte { b[3] = 23; return b }, BadLength},
		{"Length less than 26 if the A bit is set", func(b []byte) []byte { b[1] |= bitAuthentication; b[3] = 25; return append(b, 0, 0) }, BadLength},
		{"Length greater than the payload of the encapsulating protocol", func(b []byte) []byte { b[3] = 25; return b }, BadLength},
		{"a payload shorter than any packet", func(b []byte) []byte { return b[:23] }, BadLength},
		{"an empty payload", func([]byte) []byte { return nil }, BadLength},
		{"If the Detect Mult field is zero", func(b []byte) []byte { b[2] = 0; return b }, ZeroDetectMult},
		{"If the Multipoint (M) bit is nonzero", func(b []byte) []byte { b[1] |= bitMultipoint; return b }, Multipoint},
		{"If the My Discriminator field is zero", func(b []byte) []byte { copy(b[4:8], make([]byte, 4)); return b }, ZeroMyDiscriminator},
		{"Your Discriminator zero and State Up", func(b []byte) []byte { copy(b[8:12], make([]byte, 4)); return b }, ZeroYourDiscriminator},
		{"Your Discriminator zero and State Init", func(b []byte) []byte {
			copy(b[8:12], make([]byte, 4))
			b[1] = byte(Init) << 6
			return b
		}, ZeroYourDiscriminator},
		{"Your Discriminator zero and State Down", func(b []byte) []byte {
			copy(b[8:12], make([]byte, 4))
			b[1] = byte(Down) << 6
			return b
		}, ""},
		{"Your Discriminator zero and State AdminDown", func(b []byte) []byte {
			copy(b[8:12], make([]byte, 4))
			b[1] = byte(AdminDown) << 6
			return b
		}, ""},
		{"If the A bit is set and no authentication is in use", func(b []byte) []byte {
			b[1] |= bitAuthentication
			b[3] = 26
			return append(b, 1, 2)
		}, AuthenticationUnsupported},
	} {
		if _, got := Unmarshal(c.spoil(good.Marshal())); got != c.want {
			t.Errorf("%s: dropped as %q, want %q", c.sentence, got, c.want)
		}
	}
}

// FuzzUnmarshal: whatever is taken can be said again, and means the same.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(Packet{State: Down, DetectMult: 3, MyDiscriminator: 1}.Marshal())
	f.Add(Packet{State: Up, Poll: true, DetectMult: 255, MyDiscriminator: 1, YourDiscriminator: 2, DesiredMinTx: slowest}.Marshal())
	f.Add(append(Packet{State: Up, DetectMult: 1, MyDiscriminator: 1, YourDiscriminator: 2}.Marshal(), 1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, drop := Unmarshal(b)
		if drop != "" {
			if p != (Packet{}) {
				t.Fatalf("dropped as %s, and yet says %+v", drop, p)
			}
			return
		}
		again, drop := Unmarshal(p.Marshal())
		if drop != "" || again != p {
			t.Fatalf("%x is %+v, which is read again as %+v, %q", b, p, again, drop)
		}
	})
}
