// Verify a proof of the PKI Portal's audit log with the libraries of the Go project, without the portal:
//
//	go run . [-key FILE] [FOLDER]
//
// FOLDER holds what was in the downloaded file (default: the current one). -key: the log's verifier
// key from a place that you trust, instead of log.vkey in the folder. Exit code 0: everything holds.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type event struct {
	Event   string
	At      string
	Subject string
	Seq     int
	Data    map[string]any
}

func main() {
	keyFile := flag.String("key", "", "the log's verifier key")
	flag.Parse()
	folder := "."
	if flag.NArg() > 0 {
		folder = flag.Arg(0)
	}
	if *keyFile == "" {
		*keyFile = filepath.Join(folder, "log.vkey")
	}
	if err := verify(folder, *keyFile); err != nil {
		fmt.Println("DOES NOT HOLD:", err)
		os.Exit(1)
	}
}

func verify(folder, keyFile string) error {
	keys, err := readKeys(keyFile)
	if err != nil {
		return err
	}
	proofs, _ := filepath.Glob(filepath.Join(folder, "events", "*.tlog-proof"))
	if len(proofs) == 0 {
		return fmt.Errorf("the folder holds no proof")
	}
	leaves, _ := filepath.Glob(filepath.Join(folder, "events", "*.leaf"))
	if len(leaves) != len(proofs) {
		return fmt.Errorf("an event has no proof, or a proof no event")
	}
	var events []event
	notes := map[string]bool{}
	for _, name := range proofs {
		found, signed, err := checkEvent(name, keys)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
		fmt.Printf("holds: %s: %s at %s\n", filepath.Base(name), found.Event, found.At)
		events = append(events, found)
		notes[signed] = true
	}
	if err := checkCopies(folder, keyFile, notes); err != nil {
		return err
	}
	if err := checkNumbers(events); err != nil {
		return err
	}
	fmt.Printf("%d events hold.\n", len(events))
	return checkCertificate(filepath.Join(folder, "certificate.pem"), events)
}

func readKeys(name string) (note.Verifiers, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var keys []note.Verifier
	for _, line := range strings.Fields(string(text)) {
		key, err := note.NewVerifier(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return note.VerifierList(keys...), nil
}

func checkEvent(name string, keys note.Verifiers) (event, string, error) {
	var found event
	text, err := os.ReadFile(name)
	if err != nil {
		return found, "", err
	}
	leaf, err := os.ReadFile(strings.TrimSuffix(name, ".tlog-proof") + ".leaf")
	if err != nil {
		return found, "", err
	}
	head, signed, _ := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return found, "", fmt.Errorf("this is no proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return found, "", err
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return found, "", err
		}
		proof = append(proof, hash)
	}
	tree, err := openCheckpoint(signed, keys)
	if err != nil {
		return found, "", err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf)); err != nil {
		return found, "", err
	}
	err = json.Unmarshal(leaf, &found)
	return found, signed, err
}

// checkCopies compares the files for checking by hand with the proofs.
func checkCopies(folder, keyFile string, notes map[string]bool) error {
	copies, _ := filepath.Glob(filepath.Join(folder, "checkpoint-epoch-*.txt"))
	for _, name := range copies {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if !notes[string(text)] {
			return fmt.Errorf("%s is not a checkpoint of the proofs", filepath.Base(name))
		}
	}
	if len(copies) != len(notes) {
		return fmt.Errorf("a checkpoint-epoch file is missing")
	}
	text, err := os.ReadFile(filepath.Join(folder, "log-key.pem"))
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil || len(block.Bytes) < 32 {
		return fmt.Errorf("log-key.pem holds no key")
	}
	typed := append([]byte{1}, block.Bytes[len(block.Bytes)-32:]...)
	keys, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	if !strings.Contains(string(keys), "+"+base64.StdEncoding.EncodeToString(typed)) {
		return fmt.Errorf("log-key.pem is not the key of the log")
	}
	return checkWitnessKeys(filepath.Join(folder, "witnesses.vkey"))
}

// checkWitnessKeys compares each key with its own hash. Cosignatures are what verify.py checks.
func checkWitnessKeys(name string) error {
	text, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return nil
	}
	for _, line := range strings.Fields(string(text)) {
		parts := strings.SplitN(line, "+", 3)
		if len(parts) != 3 {
			return fmt.Errorf("this is no verifier key: %s", line)
		}
		typed, err := base64.StdEncoding.DecodeString(parts[2])
		if err != nil {
			return err
		}
		hash := sha256.Sum256(append([]byte(parts[0]+"\n"), typed...))
		if fmt.Sprintf("%x", hash[:4]) != parts[1] {
			return fmt.Errorf("the verifier key of %s does not match its own hash", parts[0])
		}
	}
	return err
}

// checkNumbers finds events that are missing between two of one request or certificate.
func checkNumbers(events []event) error {
	type span struct{ first, last, count int }
	spans := map[string]span{}
	for _, one := range events {
		if !strings.HasPrefix(one.Subject, "certificate:") && !strings.HasPrefix(one.Subject, "request:") {
			continue
		}
		seen, known := spans[one.Subject]
		if !known {
			seen = span{one.Seq, one.Seq, 0}
		}
		spans[one.Subject] = span{min(seen.first, one.Seq), max(seen.last, one.Seq), seen.count + 1}
	}
	for subject, seen := range spans {
		if seen.count != seen.last-seen.first+1 {
			return fmt.Errorf("events of %s are missing between those that are here", subject)
		}
	}
	return nil
}

// openCheckpoint reads origin, size and root (c2sp.org/tlog-checkpoint) from a note signed by the log.
func openCheckpoint(signed string, keys note.Verifiers) (tlog.Tree, error) {
	var tree tlog.Tree
	opened, err := note.Open([]byte(signed), keys)
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return tree, fmt.Errorf("this is no checkpoint")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(tree.Hash) {
		return tree, fmt.Errorf("this is no root hash")
	}
	copy(tree.Hash[:], root)
	return tree, nil
}

func checkCertificate(name string, events []event) error {
	text, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		if len(events) > 1 {
			return fmt.Errorf("certificate.pem is missing: a proof of several events is the proof of a certificate")
		}
		return nil
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("certificate.pem holds no certificate")
	}
	fingerprint := fmt.Sprintf("%x", sha256.Sum256(block.Bytes))
	for _, one := range events {
		if one.Event == "certificate:issued" && one.Data["sha256_fingerprint"] == fingerprint {
			fmt.Printf("The certificate with SHA-256 fingerprint %s was issued at %s.\n", fingerprint, one.At)
			return nil
		}
	}
	return fmt.Errorf("no proven event says that this certificate was issued")
}
