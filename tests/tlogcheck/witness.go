package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const name = "witness.example/w1"

// state is the newest tree that was cosigned; in a real witness it is kept on disk.
type state struct {
	sync.Mutex
	tree tlog.Tree
	key  ed25519.PrivateKey
	vkey string
}

// witness prints its own verifier key and its address, then serves add-checkpoint until it is stopped.
func witness(args []string) error {
	key := ed25519.NewKeyFromSeed([]byte(args[1])[:32])
	kept := &state{key: key, vkey: strings.TrimSpace(read(args[0]))}
	listener, err := net.Listen("tcp", args[2])
	if err != nil {
		return err
	}
	typed := append([]byte{4}, key.Public().(ed25519.PublicKey)...)
	fmt.Printf("%s+%x+%s http://%s\n", name, keyID(typed), encoded(typed), listener.Addr())
	os.Stdout.Sync()
	http.HandleFunc("/add-checkpoint", kept.add)
	return http.Serve(listener, nil)
}

func keyID(typed []byte) []byte {
	sum := sha256.Sum256(append([]byte(name+"\n"), typed...))
	return sum[:4]
}

// add follows c2sp.org/tlog-witness, add-checkpoint, step by step.
func (s *state) add(answer http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	head, text, found := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	old, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if request.Method != http.MethodPost || !found || err != nil || len(lines) > 64 {
		http.Error(answer, "not a request", http.StatusBadRequest)
		return
	}
	verifier, err := note.NewVerifier(s.vkey)
	if err != nil || !strings.HasPrefix(text, verifier.Name()+"\n") {
		http.Error(answer, "unknown log", http.StatusNotFound)
		return
	}
	_, tree, err := open(s.vkey, text)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusForbidden)
		return
	}
	if old > tree.N {
		http.Error(answer, "old size above the size", http.StatusBadRequest)
		return
	}
	s.Lock()
	defer s.Unlock()
	if old != s.tree.N {
		answer.Header().Set("Content-Type", "text/x.tlog.size")
		answer.WriteHeader(http.StatusConflict)
		fmt.Fprintf(answer, "%d\n", s.tree.N)
		return
	}
	proof, err := hashes(strings.Join(lines[1:], "\n"))
	switch {
	case err != nil:
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	case old == tree.N && tree.Hash != s.tree.Hash:
		http.Error(answer, "another root", http.StatusConflict)
		return
	case old == 0 && len(proof) > 0, old == tree.N && len(proof) > 0:
		http.Error(answer, "a proof from nothing", http.StatusUnprocessableEntity)
		return
	case old > 0 && old < tree.N:
		if err := tlog.CheckTree(tlog.TreeProof(proof), tree.N, tree.Hash, old, s.tree.Hash); err != nil {
			http.Error(answer, err.Error(), http.StatusUnprocessableEntity)
			return
		}
	}
	s.tree = tree
	fmt.Fprint(answer, s.cosign(text))
}

func (s *state) cosign(text string) string {
	signed, _, _ := strings.Cut(text, "\n\n")
	seconds := time.Now().Unix()
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s\n", seconds, signed)
	typed := append([]byte{4}, s.key.Public().(ed25519.PublicKey)...)
	blob := binary.BigEndian.AppendUint64(keyID(typed), uint64(seconds))
	blob = append(blob, ed25519.Sign(s.key, []byte(message))...)
	// A line of another key first: readers pass over it.
	return fmt.Sprintf("\u2014 other.example %s\n\u2014 %s %s\n", encoded(make([]byte, 76)), name, encoded(blob))
}
