//go:build unix

package localpg

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// repository is a server of binaries, laid out as the library wants it.
type repository struct {
	url  string
	jars atomic.Int32 // requests for the archive
}

// newRepository serves jar with its checksum. The handler change, unless nil,
// answers first what it answers at all.
func newRepository(t *testing.T, jar []byte, change func(w http.ResponseWriter, r *http.Request) bool) *repository {
	t.Helper()
	sum := sha256.Sum256(jar)
	repo := &repository{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".jar") {
			repo.jars.Add(1)
		}
		switch {
		case change != nil && change(w, r):
		case strings.HasSuffix(r.URL.Path, ".jar"):
			_, _ = w.Write(jar) // the client may be gone
		case strings.HasSuffix(r.URL.Path, ".jar.sha256"):
			_, _ = w.Write([]byte(hex.EncodeToString(sum[:]) + "\n"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	repo.url = server.URL
	return repo
}

// packed is an archive of programs that hand over to this machine's own: they
// would not find their other files if they were copied.
func packed(t *testing.T, installed binaries) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(header tar.Header, text string) {
		header.Size = int64(len(text))
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"initdb", "pg_ctl"} {
		add(tar.Header{Name: "bin/" + name, Mode: 0o700},
			"#!/bin/sh\nexec '"+filepath.Join(installed.dir, name)+"' \"$@\"\n")
	}
	add(tar.Header{Name: "bin/postmaster", Mode: 0o755},
		"#!/bin/sh\nexec '"+filepath.Join(installed.dir, "postgres")+"' \"$@\"\n")
	add(tar.Header{Name: "bin/postgres", Typeflag: tar.TypeSymlink, Linkname: "postmaster"}, "")
	add(tar.Header{Name: "share/noise", Mode: 0o600}, string(noise()))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return jar(t, xz(archive.Bytes()))
}

// noise makes the archive too large for one packet.
func noise() []byte {
	b := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}

func jar(t *testing.T, txz []byte) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	f, err := w.Create("postgres-linux-x86_64.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(txz); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// xz puts text into an xz container, uncompressed: no package that we use can
// write one, and a machine may lack the command.
func xz(text []byte) []byte {
	flags := []byte{0, 1} // each block is followed by its CRC-32
	stream := append([]byte("\xfd7zXZ\x00"), flags...)
	stream = binary.LittleEndian.AppendUint32(stream, crc32.ChecksumIEEE(flags))

	block := withCRC([]byte{2, 0, 0x21, 1, 16, 0, 0, 0}) // header: one filter, LZMA2
	for rest, reset := text, byte(1); len(rest) > 0; reset = 2 {
		chunk := rest[:min(len(rest), 1<<16)]
		rest = rest[len(chunk):]
		block = append(block, reset)
		block = binary.BigEndian.AppendUint16(block, uint16(len(chunk)-1))
		block = append(block, chunk...)
	}
	block = append(block, 0)
	size := len(block) + crc32.Size
	block = binary.LittleEndian.AppendUint32(padded(block), crc32.ChecksumIEEE(text))

	index := binary.AppendUvarint([]byte{0, 1}, uint64(size))
	index = withCRC(padded(binary.AppendUvarint(index, uint64(len(text)))))
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	stream = append(append(stream, block...), index...)
	stream = binary.LittleEndian.AppendUint32(stream, crc32.ChecksumIEEE(footer))
	return append(append(stream, footer...), "YZ"...)
}

func padded(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func withCRC(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}
