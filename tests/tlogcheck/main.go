// Command tlogcheck is a reader of the portal's audit log that shares no code with the portal: the
// transparency log and signed notes of golang.org/x/mod, as the Go checksum database uses them.
//
//	tlogcheck consistency VKEY OLD-NOTE NEW-NOTE HASHES   is the one tree a continuation of the other?
//	tlogcheck tiles VKEY FOLDER                           is the whole exported log what the checkpoint says?
//	tlogcheck witness LOG-VKEY SEED LISTEN                 a witness (c2sp.org/tlog-witness)
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	commands := map[string]func([]string) error{"consistency": consistency, "tiles": tiles, "witness": witness}
	run := commands[os.Args[1]]
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// open reads a checkpoint that the log signed, and checks that its origin is the name of the key.
func open(vkey, text string) (string, tlog.Tree, error) {
	var tree tlog.Tree
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return "", tree, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return "", tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return "", tree, fmt.Errorf("origin %q is not the name of the key %q", lines[0], verifier.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return "", tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return lines[0], tree, err
}

func read(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return string(text)
}

func hashes(text string) (found []tlog.Hash, err error) {
	for _, line := range strings.Fields(text) {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		found = append(found, hash)
	}
	return found, nil
}

func consistency(args []string) error {
	_, old, err := open(read(args[0]), read(args[1]))
	if err != nil {
		return err
	}
	_, now, err := open(read(args[0]), read(args[2]))
	if err != nil {
		return err
	}
	proof, err := hashes(read(args[3]))
	if err != nil {
		return err
	}
	return tlog.CheckTree(tlog.TreeProof(proof), now.N, now.Hash, old.N, old.Hash)
}

// folder reads tiles as c2sp.org/tlog-tiles names them; golang.org/x/mod puts their height into the path.
type folder struct{ root string }

func (f folder) Height() int                         { return 8 }
func (f folder) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (f folder) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		content, err := os.ReadFile(filepath.Join(f.root, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func tiles(args []string) error {
	root := args[1]
	_, tree, err := open(read(args[0]), read(filepath.Join(root, "checkpoint")))
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, folder{root})
	entries, err := bundles(root, tree.N)
	if err != nil {
		return err
	}
	for index, entry := range entries {
		kept, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		if err != nil {
			return err
		}
		if kept[0] != tlog.RecordHash(entry) {
			return fmt.Errorf("entry %d is not the one in the tree", index)
		}
		proof, err := tlog.ProveRecord(tree.N, int64(index), reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), tlog.RecordHash(entry)); err != nil {
			return err
		}
	}
	fmt.Printf("%d entries\n", len(entries))
	return nil
}

func bundles(root string, size int64) (found [][]byte, err error) {
	for start := int64(0); start < size; start += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: start / 256, W: int(min(256, size-start))}
		name := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		count := 0
		for len(content) > 0 {
			length := int(binary.BigEndian.Uint16(content))
			found = append(found, content[2:2+length])
			content = content[2+length:]
			count++
		}
		if count != tile.W {
			return nil, fmt.Errorf("%s has %d entries, not %d", name, count, tile.W)
		}
	}
	return found, nil
}

func encoded(content []byte) string { return base64.StdEncoding.EncodeToString(content) }
