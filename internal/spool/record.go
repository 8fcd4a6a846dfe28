package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A frame is a record on disk: a header and the record's content. The header is
// four bytes that mark it, four of length and four of checksum, both little
// endian. The checksum, CRC-32C, covers length and content. After damage a reader
// searches for the next mark; so the content never contains one: else a sender
// could hide a whole frame, of another tenant, in the body of a delivery.
const headerSize = 12

var (
	mark       = []byte("cmr\x01")
	escape     = []byte("cmr\x02")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// The last byte of a mark and of an escape in the content is escaped.
var (
	escapedMark   = []byte("cmr\x02\x01")
	escapedEscape = []byte("cmr\x02\x02")
)

func escaped(content []byte) []byte {
	content = bytes.ReplaceAll(content, escape, escapedEscape)
	return bytes.ReplaceAll(content, mark, escapedMark)
}

func unescaped(content []byte) []byte {
	if !bytes.Contains(content, escape) {
		return content
	}
	content = bytes.ReplaceAll(content, escapedMark, mark)
	return bytes.ReplaceAll(content, escapedEscape, escape)
}

// frame is r as it is on disk.
func (r *Record) frame() []byte {
	content := escaped(r.encode())
	b := make([]byte, 0, headerSize+len(content))
	b = append(b, mark...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, checksum(content))
	return append(b, content...)
}

func checksum(content []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.LittleEndian.AppendUint32(nil, uint32(len(content))))
	return crc32.Update(sum, castagnoli, content)
}

// stored is a record with the bytes that its frame takes.
type stored struct {
	Record
	size int64
}

// scan reads the frames of a file. rest is every byte that belongs to none of
// them. Even at the end of the file it may be a delivery that was accepted: a
// frame with one bit flipped in its header looks like a write that was cut off.
func scan(file []byte) (records []stored, rest []byte) {
	for len(file) > 0 {
		if r, size, ok := cutFrame(file); ok {
			records = append(records, stored{r, int64(size)})
			file = file[size:]
			continue
		}
		skipped := nextFrame(file)
		rest = append(rest, file[:skipped]...)
		file = file[skipped:]
	}
	return records, rest
}

// cutFrame reads the frame that b begins with.
func cutFrame(b []byte) (r Record, size int, ok bool) {
	if len(b) < headerSize || !bytes.HasPrefix(b, mark) {
		return Record{}, 0, false
	}
	length := uint64(binary.LittleEndian.Uint32(b[len(mark):]))
	if length > uint64(len(b)-headerSize) {
		return Record{}, 0, false
	}
	content := b[headerSize : headerSize+length]
	if checksum(content) != binary.LittleEndian.Uint32(b[len(mark)+4:]) {
		return Record{}, 0, false
	}
	r, ok = decode(unescaped(content))
	return r, headerSize + int(length), ok
}

// nextFrame is where the next readable frame in b begins, after its first byte;
// len(b) where there is none.
func nextFrame(b []byte) int {
	for at := 1; at < len(b); at++ {
		i := bytes.Index(b[at:], mark)
		if i < 0 {
			break
		}
		at += i
		if _, _, ok := cutFrame(b[at:]); ok {
			return at
		}
	}
	return len(b)
}
