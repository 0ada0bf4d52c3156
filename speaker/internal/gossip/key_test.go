package gossip

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
)

// secretServer is an API server that has one Secret, or none, and changes it
// only for who has seen its version.
type secretServer struct {
	mu     sync.Mutex
	secret *corev1.Secret
	writes int
	// seen is called after each read that was answered.
	seen func()
}

func (s *secretServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && s.seen != nil {
		defer s.seen()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(code int, reason metav1.StatusReason) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason,
		})
	}
	if s.secret == nil {
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	if r.Method == http.MethodPut {
		var put corev1.Secret
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, _, err = protobuf.NewSerializer(kube.Scheme(), kube.Scheme()).Decode(body, nil, &put)
		}
		if err != nil {
			refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
		if put.ResourceVersion != s.secret.ResourceVersion {
			refuse(http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		s.writes++
		put.TypeMeta, put.ResourceVersion = s.secret.TypeMeta, strconv.Itoa(s.writes+1)
		s.secret = &put
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.secret)
}

func (s *secretServer) client(t *testing.T) rest.Interface {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	api, err := kube.New(&rest.Config{Host: server.URL, QPS: -1}, server.Client(), kube.Scheme())
	if err != nil {
		t.Fatal(err)
	}
	return api.Core
}

func installed(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: names.GossipSecret, ResourceVersion: "1", Labels: map[string]string{"a": "b"}},
		Data:       data,
	}
}

// However many speakers find the Secret empty at the same time, they end with
// one key, and what else is in the Secret stays.
func TestSpeakersAgreeOnAKey(t *testing.T) {
	const speakers = 5
	// Everybody has read the empty Secret before anybody writes.
	var read sync.WaitGroup
	read.Add(speakers)
	var reads atomic.Int32
	s := &secretServer{secret: installed(nil), seen: func() {
		if reads.Add(1) <= speakers {
			read.Done()
			read.Wait()
		}
	}}
	api := s.client(t)
	keys := make([][]byte, speakers)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := Key(t.Context(), slog.New(slog.DiscardHandler), api, "ns")
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	all.Wait()
	for i, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Errorf("speaker %d has %x, the first one %x", i, key, keys[0])
		}
	}
	if s.writes != 1 || s.secret.Labels["a"] != "b" {
		t.Errorf("%d writes, labels %v", s.writes, s.secret.Labels)
	}
}

// A key that is there is taken as it is. What is no key, and a Secret that is
// missing, are waited for, and said.
func TestKeyIsWaitedFor(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	s := &secretServer{secret: installed(map[string][]byte{names.GossipKey: key})}
	if got, err := Key(t.Context(), slog.New(slog.DiscardHandler), s.client(t), "ns"); err != nil || !bytes.Equal(got, key) || s.writes != 0 {
		t.Errorf("%x, %v, %d writes", got, err, s.writes)
	}
	for _, c := range []struct {
		name   string
		secret *corev1.Secret
		says   string
	}{
		{"no Secret", nil, "apply them again"},
		{"a short key", installed(map[string][]byte{names.GossipKey: key[:16]}), "has 16 bytes and not 32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := &secretServer{secret: c.secret}
			said := &untilSaid{done: cancel}
			_, err := Key(ctx, slog.New(slog.NewTextHandler(said, nil)), s.client(t), "ns")
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(said.String(), c.says) {
				t.Errorf("error %v, log %s", err, said)
			}
			if s.writes != 0 {
				t.Errorf("%d writes", s.writes)
			}
		})
	}
}

// untilSaid is a log that calls done with its first line.
type untilSaid struct {
	bytes.Buffer
	done func()
}

func (u *untilSaid) Write(p []byte) (int, error) {
	defer u.done()
	return u.Buffer.Write(p)
}
