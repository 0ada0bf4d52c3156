package bfd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/script"
)

// TestScripts runs the stories in testdata: two sides, a and b, on a link
// without loss and with a delay of 1 ms. The commands are
//
//	sides [KEY=VALUE…]        begins, both with the same configuration: tx, rx,
//	                          echo-interval DURATION, mult N, echo, passive BOOL
//	run DURATION              lets time pass; gives what is sent too
//	skip DURATION             lets time pass; gives the changes of state alone
//	change SIDE KEY=VALUE…    what is not named is as before
//	cut SIDE, heal            what SIDE sends arrives nowhere
//	freeze, thaw SIDE
//	stop, start SIDE          the process is killed, and begins anew
//	remove, add SIDE          the session
//	loop BOOL                 whether echo packets are forwarded back
//	status
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t *testing.T, out *bytes.Buffer) func([]string) {
		s := &story{out: out}
		t.Cleanup(func() {
			if s.p.failure != "" {
				t.Error(s.p.failure)
			}
		})
		return func(command []string) {
			if err := s.do(strings.Fields(command[0])); err != nil {
				t.Fatalf("%s: %v", command[0], err)
			}
		}
	})
}

type story struct {
	p   *pair
	out *bytes.Buffer
}

func (s *story) do(words []string) error {
	command, args := words[0], words[1:]
	if command == "sides" {
		cfg, err := configure(DefaultConfig(), args)
		if err != nil {
			return err
		}
		s.p = newPair(1, cfg, cfg)
		s.p.delay, s.p.fixedDelay, s.p.mayFlap = time.Millisecond, true, true
		s.p.trace = func(format string, args ...any) {
			fmt.Fprintf(s.out, "%8.3f "+format+"\n", append([]any{s.p.now.Seconds()}, args...)...)
		}
		return nil
	}
	side := s.p.sides[0]
	if len(args) > 0 && args[0] == "b" {
		side = s.p.sides[1]
	}
	s.p.packets = command != "skip"
	switch command {
	case "run", "skip":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		s.p.run(d)
	case "change":
		cfg, err := configure(side.cfg, args[1:])
		if err != nil {
			return err
		}
		s.p.change(side, cfg)
	case "cut":
		s.p.cut[side.i] = true
	case "heal":
		s.p.cut = [2]bool{}
	case "freeze":
		s.p.freeze(side)
	case "thaw":
		s.p.thaw(side)
	case "stop":
		s.p.stop(side)
	case "start":
		s.p.start(side)
	case "remove":
		side.table.Remove(s.p.now, side.path)
		s.p.perform(side)
	case "add":
		if err := side.table.Add(s.p.now, side.path, side.cfg); err != nil {
			return err
		}
		s.p.perform(side)
	case "loop":
		s.p.noEcho = args[0] == "false"
	case "status":
		for _, side := range s.p.sides {
			for _, st := range side.table.Statuses() {
				fmt.Fprintf(s.out, "%s %s %s, sends every %s, detects after %s, by echo after %s, %d flaps\n",
					side.name, st.State, st.Diag, st.Transmit, st.Detection, st.EchoDetection, st.Flaps)
			}
		}
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

func configure(c Config, settings []string) (Config, error) {
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		var err error
		switch key {
		case "tx":
			c.TransmitInterval, err = time.ParseDuration(value)
		case "rx":
			c.ReceiveInterval, err = time.ParseDuration(value)
		case "echo-interval":
			c.EchoInterval, err = time.ParseDuration(value)
		case "mult":
			_, err = fmt.Sscan(value, &c.DetectMultiplier)
		case "echo":
			c.Echo = value == "true"
		case "passive":
			c.Passive = value == "true"
		default:
			err = fmt.Errorf("no such setting: %s", key)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}
