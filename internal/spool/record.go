package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A record is its header and its content: four bytes that mark a record, four
// of length and four of checksum, both little end first. The checksum, CRC-32C,
// covers length and content. The mark lets a reader find the next record behind
// one that is damaged.
const headerSize = 12

var (
	mark       = []byte("cmr\x01")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// appendRecord appends the record of content to b.
func appendRecord(b, content []byte) []byte {
	b = append(b, mark...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, checksum(content))
	return append(b, content...)
}

func checksum(content []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.LittleEndian.AppendUint32(nil, uint32(len(content))))
	return crc32.Update(sum, castagnoli, content)
}

// scan reads the records of a segment. What was being written when everything
// stopped stands at the end and is passed over. damaged is set when there is
// more that can't be read: a finished record with a wrong checksum, or anything
// with a good record behind it.
func scan(segment []byte) (records []record, damaged bool) {
	for len(segment) > 0 {
		r, rest, state := next(segment)
		if state == readable {
			records, segment = append(records, r), rest
			continue
		}
		damaged = damaged || state == corrupt
		if segment = skip(segment); segment != nil {
			damaged = true
		}
	}
	return records, damaged
}

type condition uint8

const (
	readable   condition = iota
	unfinished           // ends before its length says
	corrupt              // whole, but not what was written
)

// next reads the record that b begins with.
func next(b []byte) (r record, rest []byte, state condition) {
	if len(b) < headerSize || !bytes.HasPrefix(b, mark) {
		return record{}, nil, unfinished
	}
	length := uint64(binary.LittleEndian.Uint32(b[len(mark):]))
	if length > uint64(len(b)-headerSize) {
		return record{}, nil, unfinished
	}
	content := b[headerSize : headerSize+length]
	if checksum(content) != binary.LittleEndian.Uint32(b[len(mark)+4:]) {
		return record{}, nil, corrupt
	}
	r, ok := decode(content)
	if !ok {
		return record{}, nil, corrupt
	}
	return r, b[headerSize+length:], readable
}

// skip returns b from the next readable record on, nil when there is none.
func skip(b []byte) []byte {
	for len(b) > 0 {
		i := bytes.Index(b[1:], mark)
		if i < 0 {
			return nil
		}
		b = b[1+i:]
		if _, _, state := next(b); state == readable {
			return b
		}
	}
	return nil
}
