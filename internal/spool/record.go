package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// A record is its header and its payload: four bytes of length and four of
// checksum, both little end first. The checksum, CRC-32C, covers length and
// payload, so that a run of zeros, which a file system may leave where data was
// to follow, is no record.
const headerSize = 8

// maxRecord bounds what a reader believes of a length, in bytes.
const maxRecord = 256 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the record of payload to b.
func appendRecord(b, payload []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, checksum(payload))
	return append(b, payload...)
}

func checksum(payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, binary.LittleEndian.AppendUint32(nil, uint32(len(payload))))
	return crc32.Update(sum, castagnoli, payload)
}

// errTorn is the end of a segment whose last record was never finished.
// errCorrupt is a record that was, and has changed since.
var (
	errTorn    = errors.New("spool: the last record was not finished")
	errCorrupt = errors.New("spool: a record's checksum is wrong")
)

// readRecord reads the next record's payload. At the end of the segment it
// returns io.EOF.
func readRecord(r io.Reader) ([]byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errTorn
	} else if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(header[:])
	if header == [headerSize]byte{} {
		return nil, errTorn // room that was reserved and never written
	}
	if size > maxRecord {
		return nil, errCorrupt
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, errTorn
	} else if err != nil {
		return nil, err
	}
	if checksum(payload) != binary.LittleEndian.Uint32(header[4:]) {
		return nil, errCorrupt
	}
	return payload, nil
}
