// Command demo tells Porchlight's story on a real cluster on this machine:
// every line that begins with $ is a command that runs as it is printed, and
// what it shows is checked before the story goes on.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	once := flag.Bool("once", false, "tear down at the end, also after a failure")
	name := flag.String("name", "", "name of the lab; empty: the checkout's own")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	s := &story{name: *name, out: os.Stdout, colour: isTerminal(os.Stdout)}
	if err := s.tell(ctx, *once); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		if !*once {
			fmt.Fprintf(os.Stderr, "The lab is still up for a look: %s; make demo-down removes it.\n", quote(s.lab("status")))
		}
		os.Exit(1)
	}
}

func (s *story) tell(ctx context.Context, once bool) (err error) {
	if once {
		defer func() {
			if err != nil {
				s.lastWords()
			}
			err = errors.Join(err, s.tearDown())
		}()
	}
	for i, c := range chapters {
		s.title(i+1, c.title)
		if err := c.tell(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
	}
	if !once {
		s.next()
	}
	return nil
}

// tearDown is told even where the story was interrupted.
func (s *story) tearDown() error {
	s.say("Tearing down.")
	_, err := s.run(context.Background(), s.lab("down")...)
	return err
}

// lastWords prints what a person would look at after a failure.
func (s *story) lastWords() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods,svc,ippool,gateway,httproute", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"logs", "-n", "porchlight-system", "-l", "app.kubernetes.io/name=porchlight", "--all-containers", "--prefix", "--tail=40", "--max-log-requests=30"},
	} {
		// Best effort: the failure itself is what is reported.
		_, _ = s.kubectl(ctx, args...)
	}
}

// story prints, runs and checks; addresses and names that one chapter learns
// and another needs are in it.
type story struct {
	name   string
	out    io.Writer
	colour bool

	address string // External-IP of Service hello
	owner   string // node that answers for it
	porch   string // address of Gateway porch
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (s *story) style(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *story) title(n int, text string) {
	fmt.Fprintf(s.out, "\n%s\n", s.style("1;33", fmt.Sprintf("%d. %s", n, text)))
}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%s\n", s.style("36", fmt.Sprintf(format, args...)))
}

// run prints the command, runs it, prints what it prints as it does, and
// returns that.
func (s *story) run(ctx context.Context, command ...string) (string, error) {
	fmt.Fprintf(s.out, "%s\n", s.style("1", "$ "+quote(command)))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	return s.stream(cmd)
}

func (s *story) stream(cmd *exec.Cmd) (string, error) {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	var all strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewReader(r); ; {
			line, err := lines.ReadString('\n')
			if line != "" {
				all.WriteString(line)
				fmt.Fprintf(s.out, "  %s\n", strings.TrimRight(line, "\n"))
			}
			if err != nil {
				return
			}
		}
	}()
	err := cmd.Run()
	_ = w.Close() // a pipe's writer has nothing to fail at
	<-done
	if err != nil {
		return all.String(), fmt.Errorf("%s: %w", quote(cmd.Args), err)
	}
	return all.String(), nil
}

// lab is a command line of bin/lab; its words may end with what -- begins.
func (s *story) lab(verb string, words ...string) []string {
	command := []string{"bin/lab", verb}
	if s.name != "" {
		command = append(command, "--name", s.name)
	}
	return append(command, words...)
}

func (s *story) kubectl(ctx context.Context, args ...string) (string, error) {
	return s.run(ctx, s.lab("kubectl", append([]string{"--"}, args...)...)...)
}

func (s *story) on(ctx context.Context, host string, command ...string) (string, error) {
	return s.run(ctx, s.lab("exec", append([]string{host, "--"}, command...)...)...)
}

// get asks kubectl without a word.
func (s *story) get(ctx context.Context, args ...string) (string, error) {
	command := s.lab("kubectl", append([]string{"--"}, args...)...)
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", quote(command), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// quote shows a command as one would type it.
func quote(command []string) string {
	var words []string
	for _, w := range command {
		if w == "" || strings.ContainsAny(w, " '\"{}[]*?$&|;<>()\\") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// expect fails the story where what was printed does not have the text.
func expect(printed, text string) error {
	if !strings.Contains(printed, text) {
		return fmt.Errorf("expected to see %q", text)
	}
	return nil
}

func (s *story) next() {
	s.title(len(chapters)+1, "What to try next")
	kubectl := quote(s.lab("kubectl", "--"))
	for _, line := range []string{
		kubectl + " get svc,ippool,l2adv,gateway,httproute -A",
		kubectl + " create deployment web --image=registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.3",
		kubectl + " expose deployment web --type LoadBalancer --port 80 --target-port 3000",
		quote(s.lab("exec", "client", "--", "tcpdump", "-ni", "eth0", "arp or icmp6")) + "   # watch the LAN; then, elsewhere:",
		quote(s.lab("fault", "power-off", s.owner)) + "   # kill a whole node",
		quote(s.lab("fault", "heal")) + "   # and undo it",
		"make demo-down   # tear down; nothing is left",
	} {
		fmt.Fprintf(s.out, "  %s\n", line)
	}
}
