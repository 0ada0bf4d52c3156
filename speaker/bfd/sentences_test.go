package bfd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestSentences is one test per sentence of RFC 5880, in its order.
func TestSentences(t *testing.T) {
	for _, c := range []struct {
		section, sentence string
		test              func(t *testing.T)
	}{
		{"6.1", "A system taking the Passive role MUST NOT begin sending BFD packets for a particular session until it has received a BFD packet for that session", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Passive = true })
			n.run(time.Minute)
			n.want("packets before", len(n.sent), 0)
			n.receive(n.says(Down))
			n.want("packets after", len(n.sent), 1)
			n.want("state said", n.lastSent().State, Init)
		}},
		{"6.1", "A system taking the Active role MUST send BFD Control packets for a particular session, regardless of whether it has received any BFD packets", func(t *testing.T) {
			n := begin(t, nil)
			n.run(10 * time.Second)
			if len(n.sent) < 10 || len(n.sent) > 15 {
				t.Errorf("%d packets in ten seconds", len(n.sent))
			}
			n.want("state said", n.lastSent().State, Down)
		}},
		{"6.3", "the source address field can change or the interface over which the packets are received can change, but the packets will still be associated with the proper session", func(t *testing.T) {
			n := begin(t, nil).up()
			_, drop := n.table.Receive(n.now, Arrival{Remote: netip.MustParseAddr("192.0.2.99"), Interface: "eth1", TTL: 255}, n.says(Down).Marshal())
			n.want("drop", drop, Drop(""))
			n.want("state", n.status().State, Down)
		}},
		{"6.5", "When the other system receives a Poll, it immediately transmits a BFD Control packet with the Final (F) bit set", func(t *testing.T) {
			n := begin(t, nil).up()
			p := n.says(Up)
			p.Poll = true
			n.receive(p)
			n.want("packets", len(n.sent), 1)
			n.want("Final", n.sent[0].Final, true)
			n.receive(n.says(Up))
			n.run(time.Second)
			n.want("Final in the next periodic packet", n.lastSent().Final, false)
		}},
		{"6.5", "When the system sending the Poll sequence receives a packet with Final, the Poll Sequence is terminated, and any subsequent BFD Control packets are sent with the Poll bit cleared", func(t *testing.T) {
			n := begin(t, nil)
			n.receive(n.says(Down))
			n.receive(n.says(Init))
			n.want("Poll at Up", n.lastSent().Poll, true)
			n.run(900 * time.Millisecond)
			n.want("Poll until a Final comes", n.lastSent().Poll, true)
			p := n.says(Up)
			p.Final = true
			n.receive(p)
			n.forget()
			n.run(time.Second)
			for _, p := range n.sent {
				n.want("Poll afterwards", p.Poll, false)
			}
		}},
		{"6.5", "A BFD Control packet MUST NOT have both the Poll (P) and Final (F) bits set", func(t *testing.T) {
			n := begin(t, nil)
			n.receive(n.says(Down))
			n.receive(n.says(Init)) // polls
			n.forget()
			p := n.says(Up)
			p.Poll = true
			n.receive(p)
			n.want("Final", n.lastSent().Final, true)
			n.want("Poll", n.lastSent().Poll, false)
		}},
		{"6.5", "the Poll Sequence MUST be performed by setting the Poll (P) bit on those scheduled periodic transmissions; additional packets MUST NOT be sent", func(t *testing.T) {
			n := begin(t, nil)
			n.receive(n.says(Down))
			n.receive(n.says(Init))
			n.forget()
			n.run(2900 * time.Millisecond) // the peer never answers
			if len(n.sent) < 9 || len(n.sent) > 13 {
				t.Errorf("%d packets in 2.9 s at 300 ms", len(n.sent))
			}
		}},
		{"6.8.1", "bfd.LocalDiscr MUST be set to a nonzero value, unique across all BFD sessions on the system", func(t *testing.T) {
			table, seen := New(rand.New(rand.NewPCG(1, 1))), map[uint32]bool{0: true}
			for i := range 500 {
				if err := table.Add(0, Path{Remote: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, DefaultConfig()); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range table.Statuses() {
				if seen[s.Local] {
					t.Fatalf("%d again", s.Local)
				}
				seen[s.Local] = true
			}
		}},
		{"6.8.1", "If a period of a Detection Time passes without the receipt of a valid BFD packet from the remote system, bfd.RemoteDiscr MUST be set to zero", func(t *testing.T) {
			n := begin(t, nil).up()
			n.receive(n.says(Down)) // both know each other, and are Down
			n.want("your discriminator", n.lastSent().YourDiscriminator, uint32(peerDiscr))
			n.run(3*time.Second - 1)
			n.want("just before", n.status().Remote, uint32(peerDiscr))
			n.run(1)
			n.want("after the detection time", n.status().Remote, uint32(0))
			n.want("your discriminator then", n.lastSent().YourDiscriminator, uint32(0))
		}},
		{"6.8.1", "and with it all that is known of the peer: one that wanted no packets, and died, is sent packets again", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.RequiredMinRx = 0 })
			n.run(10 * time.Second)
			n.want("packets", len(n.sent) >= 6, true)
		}},
		{"6.8.2", "the interval is the larger of bfd.DesiredMinTxInterval and bfd.RemoteMinRxInterval", func(t *testing.T) {
			n := begin(t, nil).up()
			n.want("ours is larger or equal", n.status().Transmit, 300*time.Millisecond)
			p := n.says(Up)
			p.RequiredMinRx = 700 * time.Millisecond
			n.receive(p)
			n.want("the peer's is larger", n.status().Transmit, 700*time.Millisecond)
		}},
		{"6.8.3", "the new parameter values: a change initiates a Poll Sequence, and the state is not affected", func(t *testing.T) {
			n := begin(t, nil).up()
			cfg := DefaultConfig()
			cfg.TransmitInterval, cfg.ReceiveInterval = 100*time.Millisecond, 50*time.Millisecond
			if err := n.table.Change(n.now, singleHop, cfg); err != nil {
				t.Fatal(err)
			}
			n.collect()
			n.want("packets at once", len(n.sent), 1)
			n.want("Poll", n.sent[0].Poll, true)
			n.want("tx said", n.sent[0].DesiredMinTx, 100*time.Millisecond)
			n.want("rx said", n.sent[0].RequiredMinRx, 50*time.Millisecond)
			n.want("changes of state", len(n.changes), 0)
		}},
		{"6.8.3", "If bfd.DesiredMinTxInterval is increased and bfd.SessionState is Up, the actual transmission interval used MUST NOT change until the Poll Sequence has terminated", func(t *testing.T) {
			n := begin(t, nil).up()
			cfg := DefaultConfig()
			cfg.TransmitInterval = 2 * time.Second
			_ = n.table.Change(n.now, singleHop, cfg)
			n.collect()
			n.want("interval said", n.lastSent().DesiredMinTx, 2*time.Second)
			n.want("interval used", n.status().Transmit, 300*time.Millisecond)
			p := n.says(Up)
			p.Final = true
			n.receive(p)
			n.want("interval used after the Final", n.status().Transmit, 2*time.Second)
		}},
		{"6.8.3", "If bfd.RequiredMinRxInterval is reduced and bfd.SessionState is Up, the previous value MUST be used when calculating the Detection Time until the Poll Sequence has terminated", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.DesiredMinTx = 10 * time.Millisecond })
			n.want("detection time before", n.status().Detection, 900*time.Millisecond)
			cfg := DefaultConfig()
			cfg.ReceiveInterval = 50 * time.Millisecond
			_ = n.table.Change(n.now, singleHop, cfg)
			n.collect()
			n.want("interval said", n.lastSent().RequiredMinRx, 50*time.Millisecond)
			n.want("detection time meanwhile", n.status().Detection, 900*time.Millisecond)
			p := n.says(Up)
			p.DesiredMinTx, p.Final = 10*time.Millisecond, true
			n.receive(p)
			n.want("detection time after the Final", n.status().Detection, 150*time.Millisecond)
		}},
		{"6.8.3", "When bfd.SessionState is not Up, the system MUST set bfd.DesiredMinTxInterval to a value of not less than one second", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.TransmitInterval = 10 * time.Millisecond })
			n.want("Down", n.lastSent().DesiredMinTx, time.Second)
			n.receive(n.says(Down))
			n.want("Init", n.lastSent().DesiredMinTx, time.Second)
			n.receive(n.says(Init))
			n.want("Up", n.lastSent().DesiredMinTx, 10*time.Millisecond)
			n.receive(n.says(Down))
			n.want("Down again", n.lastSent().DesiredMinTx, time.Second)
			n.want("used", n.status().Transmit, time.Second)
		}},
		{"6.8.3", "and an interval that is configured longer than a second is kept", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.TransmitInterval = 5 * time.Second })
			n.want("Down", n.lastSent().DesiredMinTx, 5*time.Second)
		}},
		{"6.8.3", "If the local system reduces its transmit interval due to bfd.RemoteMinRxInterval being reduced, the local system MUST honor the new interval immediately", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.TransmitInterval = 50 * time.Millisecond }).upWith(func(p *Packet) { p.RequiredMinRx = 10 * time.Second; p.DetectMult = 200 })
			n.run(5 * time.Second)
			n.forget()
			n.receive(n.says(Up)) // 300 ms, which passed long ago
			n.run(0)
			n.want("packets at once", len(n.sent), 1)
		}},
		{"6.8.3", "When the Echo function is active, a system SHOULD set bfd.RequiredMinRxInterval to a value of not less than one second", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(0)
			n.want("before an echo came back", n.status().Detection, 3*time.Second) // the peer sends every second
			n.comesBack(n.echoes[0])
			n.want("rx said", n.lastSent().RequiredMinRx, time.Second)
			n.want("Poll", n.lastSent().Poll, true)
		}},
		{"6.8.3", "if multiple changes are made that require a Poll Sequence, a packet with the Final (F) bit clear MUST be received after the Poll Sequence has completed prior to the initiation of another", func(t *testing.T) {
			n := begin(t, nil).up()
			change := func(d time.Duration) {
				cfg := DefaultConfig()
				cfg.TransmitInterval = d
				_ = n.table.Change(n.now, singleHop, cfg)
				n.collect()
			}
			change(400 * time.Millisecond)
			change(500 * time.Millisecond)
			n.want("said while the first is polled for", n.lastSent().DesiredMinTx, 400*time.Millisecond)
			p := n.says(Up)
			p.Final = true
			n.receive(p)
			n.receive(p) // a copy
			n.run(400 * time.Millisecond)
			n.want("said before a packet without Final", n.lastSent().DesiredMinTx, 400*time.Millisecond)
			n.receive(n.says(Up))
			n.want("said then", n.lastSent().DesiredMinTx, 500*time.Millisecond)
			n.want("Poll", n.lastSent().Poll, true)
			n.want("used", n.status().Transmit, 400*time.Millisecond)
		}},
		{"6.8.4", "the Detection Time is the Detect Mult received from the remote system, multiplied by the greater of bfd.RequiredMinRxInterval and the last received Desired Min TX Interval", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.DetectMult, p.DesiredMinTx = 5, 100*time.Millisecond })
			n.want("ours is greater", n.status().Detection, 1500*time.Millisecond)
			p := n.says(Up)
			p.DetectMult, p.DesiredMinTx = 7, 400*time.Millisecond
			n.receive(p)
			n.want("the peer's is greater", n.status().Detection, 2800*time.Millisecond)
		}},
		{"6.8.4", "if the Detection Time passes without receiving a packet and bfd.SessionState is Init or Up, the session has gone down: Down, diagnostic 1", func(t *testing.T) {
			for _, states := range [][]State{{Down}, {Down, Init}} {
				n := begin(t, nil)
				for _, s := range states {
					n.receive(n.says(s))
				}
				n.run(3*time.Second - 1)
				n.want("just before", n.status().State != Down, true)
				n.run(1)
				n.want("state", n.status().State, Down)
				n.want("diagnostic", n.status().Diag, ControlDetectionTimeExpired)
				n.want("said", n.lastSent().Diag, ControlDetectionTimeExpired)
			}
		}},
		{"6.8.5", "When a sufficient number of Echo packets have not arrived as they should, the session has gone down: Down, diagnostic 2", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(0)
			n.comesBack(n.echoes[0])
			n.run(150*time.Millisecond - 1)
			n.want("just before", n.status().State, Up)
			n.run(1)
			n.want("state", n.status().State, Down)
			n.want("diagnostic", n.status().Diag, EchoFunctionFailed)
			n.forget()
			n.run(2 * time.Second)
			n.want("echo packets while Down", len(n.echoes), 0)
		}},
		{"6.8.5", "none that came back in this Up: the echo function is not active, and the session stays", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			for range 20 {
				n.run(200 * time.Millisecond)
				p := n.says(Up)
				withEcho(&p)
				n.receive(p)
			}
			n.want("state", n.status().State, Up)
			n.want("rx said", n.lastSent().RequiredMinRx, 300*time.Millisecond)
		}},
		{"6.8.6", "If the Your Discriminator field is nonzero and no session is found, the packet MUST be discarded", func(t *testing.T) {
			n := begin(t, nil)
			p := n.says(Down)
			p.YourDiscriminator++
			n.want("drop", n.receive(p), NoSession)
			n.want("state", n.status().State, Down)
		}},
		{"6.8.6", "If the Required Min Echo RX Interval field is zero, the transmission of Echo packets, if any, MUST cease", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(100 * time.Millisecond)
			n.want("echo packets before", len(n.echoes) > 1, true)
			n.receive(n.says(Up))
			n.forget()
			n.run(time.Second)
			n.want("echo packets after", len(n.echoes), 0)
			n.want("state", n.status().State, Up)
		}},
		{"6.8.6", "If bfd.RemoteDemandMode is 1 and both are Up, the local system MUST cease the periodic transmission of BFD Control packets", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.Demand = p.State == Up })
			n.run(2 * time.Second)
			n.want("packets", len(n.sent), 0)
			n.want("state", n.status().State, Up)
			p := n.says(Up)
			p.Demand, p.Poll = true, true
			n.receive(p)
			n.want("packets in answer to a Poll", len(n.sent), 1)
			n.want("Final", n.lastSent().Final, true)
		}},
		{"6.8.6", "If Demand mode is not active on the remote system the local system MUST send periodic BFD Control packets", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.Demand = p.State == Up })
			n.run(time.Second)
			n.receive(n.says(Up))
			n.forget()
			n.run(time.Second)
			if len(n.sent) < 3 {
				t.Errorf("%d packets", len(n.sent))
			}
		}},
		{"6.8.6", "a Poll Sequence is sent though the remote system is in Demand mode, until the Final", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.Demand = p.State == Up })
			cfg := DefaultConfig()
			cfg.TransmitInterval = 100 * time.Millisecond
			_ = n.table.Change(n.now, singleHop, cfg)
			n.run(time.Second)
			n.want("packets", len(n.sent) >= 3, true)
			n.want("Poll", n.lastSent().Poll, true)
			p := n.says(Up)
			p.Demand, p.Final = true, true
			n.receive(p)
			n.forget()
			n.run(time.Second)
			n.want("packets after the Final", len(n.sent), 0)
		}},
		{"6.8.6", "If the packet was not discarded, it has been received for purposes of the Detection Time; one that was discarded has not", func(t *testing.T) {
			n := begin(t, nil).up()
			n.run(2 * time.Second)
			bad := n.says(Up)
			bad.YourDiscriminator++
			n.receive(bad)
			n.run(time.Second)
			n.want("state", n.status().State, Down)
		}},
		{"6.8.7", "a system MUST NOT transmit at an interval less than the negotiated one, less applied jitter; reduced by a random value of 0 to 25%", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.DetectMult = 255 })
			n.gaps(300*time.Millisecond, 0.75, 1.0)
		}},
		{"6.8.7", "If bfd.DetectMult is equal to 1, the interval MUST be no more than 90% of the negotiated transmission interval, and MUST be no less than 75%", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.DetectMultiplier = 1 }).upWith(func(p *Packet) { p.DetectMult = 255 })
			n.gaps(300*time.Millisecond, 0.75, 0.90)
		}},
		{"6.8.7", "A system MUST NOT periodically transmit if bfd.RemoteMinRxInterval is zero", func(t *testing.T) {
			n := begin(t, nil).upWith(func(p *Packet) { p.RequiredMinRx = 0 })
			n.run(2900 * time.Millisecond)
			n.want("packets", len(n.sent), 0)
			p := n.says(Up)
			p.RequiredMinRx, p.Poll = 0, true
			n.receive(p)
			n.want("packets in answer to a Poll", len(n.sent), 1)
		}},
		{"6.8.7", "A BFD Control packet SHOULD be transmitted during the interval between periodic transmissions when the contents would differ from that in the previously transmitted packet", func(t *testing.T) {
			n := begin(t, nil)
			n.forget()
			n.receive(n.says(Down))
			n.want("packets at once", len(n.sent), 1)
			n.want("state said", n.lastSent().State, Init)
			n.receive(n.says(Down))
			n.want("packets with nothing new to say", len(n.sent), 1)
		}},
		{"6.8.7", "the Demand bit is never set, nor the C bit: BFD shares the fate of the speaker", func(t *testing.T) {
			n := begin(t, nil)
			n.receive(n.says(Down))
			n.receive(n.says(Init))
			n.run(2 * time.Second)
			for _, p := range n.sent {
				n.want("Demand or C", p.Demand || p.ControlPlaneIndependent, false)
			}
		}},
		{"6.8.9", "BFD Echo packets MUST NOT be transmitted when bfd.SessionState is not Up", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true })
			p := n.says(Down)
			withEcho(&p)
			n.receive(p)
			n.run(2 * time.Second)
			n.want("echo packets", len(n.echoes), 0)
		}},
		{"6.8.9", "The interval between transmitted BFD Echo packets MUST NOT be less than the value advertised by the remote system, less a jitter of up to 25%", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo, c.EchoInterval = true, 20*time.Millisecond }).upWith(withEcho)
			n.run(2 * time.Second)
			for i := 1; i < len(n.echoAt); i++ {
				if gap := n.echoAt[i] - n.echoAt[i-1]; gap < 37500*time.Microsecond || gap > 50*time.Millisecond {
					t.Fatalf("%s between two", gap)
				}
			}
			n.want("echo packets", len(n.echoAt) >= 40, true)
		}},
		{"6.8.8", "A received BFD Echo packet MUST be demultiplexed to the appropriate session; what this node did not send is none", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(0)
			good := n.echoes[0]
			for name, spoil := range map[string]func([]byte) []byte{
				"another session": func(b []byte) []byte { b[0]++; return b },
				"another cookie":  func(b []byte) []byte { b[19]++; return b },
				"of the future":   func(b []byte) []byte { b[5]++; return b },
				"short":           func(b []byte) []byte { return b[:19] },
				"long":            func(b []byte) []byte { return append(b, 0) },
				"empty":           func([]byte) []byte { return nil },
			} {
				n.want(name, n.table.ReceiveEcho(n.now, spoil(append([]byte(nil), good...))), BadEcho)
			}
			n.want("the one sent", n.table.ReceiveEcho(n.now, good), Drop(""))
			n.want("a copy of it", n.table.ReceiveEcho(n.now, good), StaleEcho)
			n.want("its session", n.status().EchoesReceived, uint64(1))
		}},
		{"6.8.8", "one that took the detection time says nothing of the path as it is", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(150 * time.Millisecond)
			n.want("drop", n.table.ReceiveEcho(n.now, n.echoes[0]), StaleEcho)
		}},
		{"6.8.12", "When it is desired to change the detect multiplier, the new value will be transmitted with the next packet, and a Poll Sequence is not necessary", func(t *testing.T) {
			n := begin(t, nil).up()
			cfg := DefaultConfig()
			cfg.DetectMultiplier = 9
			_ = n.table.Change(n.now, singleHop, cfg)
			n.collect()
			n.want("said", n.lastSent().DetectMult, uint8(9))
			n.want("Poll", n.lastSent().Poll, false)
		}},
		{"6.8.13", "to start or stop the transmission of Echo packets MAY be done at any time, by changing Required Min Echo RX Interval for those received", func(t *testing.T) {
			n := begin(t, nil).upWith(withEcho)
			n.run(time.Second)
			n.want("echo packets", len(n.echoes), 0)
			n.want("echo said", n.lastSent().RequiredMinEchoRx, time.Duration(0))
			cfg := DefaultConfig()
			cfg.Echo = true
			_ = n.table.Change(n.now, singleHop, cfg)
			n.run(100 * time.Millisecond)
			n.want("echo packets then", len(n.echoes) > 1, true)
			n.want("echo said then", n.lastSent().RequiredMinEchoRx, 50*time.Millisecond)
			_ = n.table.Change(n.now, singleHop, DefaultConfig())
			n.forget()
			n.run(200 * time.Millisecond)
			n.want("echo packets in the end", len(n.echoes), 0)
			n.want("state", n.status().State, Up)
		}},
		{"6.8.16", "BFD Control packets SHOULD be transmitted for at least a Detection Time after transitioning to AdminDown state, diagnostic 7; echo packets cease", func(t *testing.T) {
			n := begin(t, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(0)
			n.forget()
			n.table.Remove(n.now, singleHop)
			n.collect()
			n.want("packets at once", len(n.sent), 1)
			n.run(3*time.Second - 1)
			n.want("gone before the detection time", n.gone, 0)
			n.want("packets", len(n.sent) >= 3, true)
			for _, p := range n.sent {
				n.want("state said", p.State, AdminDown)
				n.want("diagnostic said", p.Diag, AdministrativelyDown)
			}
			n.want("echo packets", len(n.echoes), 0)
			n.run(1)
			n.want("gone after it", n.gone, 1)
			n.forget()
			n.run(10 * time.Second)
			n.want("packets then", len(n.sent), 0)
		}},
		{"6.8.16", "Enabling: set bfd.SessionState to Down", func(t *testing.T) {
			n := begin(t, nil).up()
			n.table.Remove(n.now, singleHop)
			n.run(time.Second)
			if err := n.table.Add(n.now, singleHop, DefaultConfig()); err != nil {
				t.Fatal(err)
			}
			n.collect()
			n.want("state said", n.lastSent().State, Down)
			n.run(10 * time.Second)
			n.want("gone", n.gone, 0)
		}},
		{"RFC 5881, 5", "All received BFD Control packets MUST be discarded if the received TTL or Hop Limit is not equal to 255", func(t *testing.T) {
			n := begin(t, nil)
			for _, ttl := range []int{0, 1, 64, 254, 255} {
				want := BadTTL
				if ttl == 255 {
					want = ""
				}
				n.want("drop", n.arrives(Arrival{Remote: singleHop.Remote, Interface: "eth0", TTL: ttl}), want)
			}
		}},
		{"RFC 5883, 3", "The Echo function MUST NOT be used over multiple hops", func(t *testing.T) {
			n := beginOn(t, Path{Remote: netip.MustParseAddr("198.51.100.1"), Multihop: true}, func(c *Config) { c.Echo = true }).upWith(withEcho)
			n.run(time.Second)
			n.want("echo packets", len(n.echoes), 0)
			n.want("echo said", n.lastSent().RequiredMinEchoRx, time.Duration(0))
		}},
		{"RFC 5883, 5.2", "a minimum TTL bounds how far away a peer may be", func(t *testing.T) {
			path := Path{Remote: netip.MustParseAddr("198.51.100.1"), Multihop: true}
			n := beginOn(t, path, func(c *Config) { c.MinimumTTL = 250 })
			for ttl, want := range map[int]Drop{255: "", 250: "", 249: BadTTL} {
				n.want("drop", n.arrives(Arrival{Remote: path.Remote, TTL: ttl, Multihop: true}), want)
			}
		}},
	} {
		t.Run(c.section+" "+c.sentence, c.test)
	}
}
