package inbox

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/erasure"
	"contactmirror/internal/signature"
)

// putArgs has an element for each event.
type putArgs struct {
	ContextIdentifiers []string
	EventIDs           []pgtype.UUID
	Events             []string
	Entities           []*string
	PrimaryKeys        []*int64
	OccurredAt         []*time.Time
	OccurredTicks      []*int64
	ReceivedAt         []time.Time
	KeylessSHA256      [][]byte
	Bodies             [][]byte
	Shards             []*int16
}

func newPutArgs(batch []*request) putArgs {
	n := len(batch)
	args := putArgs{
		ContextIdentifiers: make([]string, n), EventIDs: make([]pgtype.UUID, n), Events: make([]string, n),
		Entities: make([]*string, n), PrimaryKeys: make([]*int64, n),
		OccurredAt: make([]*time.Time, n), OccurredTicks: make([]*int64, n), ReceivedAt: make([]time.Time, n),
		KeylessSHA256: make([][]byte, n), Bodies: make([][]byte, n), Shards: make([]*int16, n),
	}
	shards := make([]int16, n) // in one allocation
	for i, r := range batch {
		e := r.Event
		args.ContextIdentifiers[i], args.EventIDs[i], args.Events[i] = e.Tenant, uuidOf(r), e.Name
		args.Entities[i], args.PrimaryKeys[i] = e.Entity, e.PrimaryKey
		args.ReceivedAt[i], args.KeylessSHA256[i], args.Bodies[i] = r.ReceivedAt, r.key.keyless, r.Body
		if e.Occurred != nil {
			at, tick := e.Occurred.Time(), int64(*e.Occurred)
			args.OccurredAt[i], args.OccurredTicks[i] = &at, &tick
		}
		if !e.Ignored() {
			shards[i] = e.Contact.Key.Shard()
			args.Shards[i] = &shards[i]
		}
	}
	return args
}

// duplicateArgs has an element for each delivery.
type duplicateArgs struct {
	ContextIdentifiers []string
	EventIDs           []pgtype.UUID
	Events             []string
	Entities           []*string
	PrimaryKeys        []*int64
	OccurredTicks      []*int64
	KeylessSHA256      [][]byte
	ReceivedAt         []time.Time
	Retries            []*int32
	BodySHA256         [][]byte
}

func newDuplicateArgs(batch []*request) duplicateArgs {
	n := len(batch)
	args := duplicateArgs{
		ContextIdentifiers: make([]string, n), EventIDs: make([]pgtype.UUID, n), Events: make([]string, n), PrimaryKeys: make([]*int64, n),
		Entities: make([]*string, n), OccurredTicks: make([]*int64, n), KeylessSHA256: make([][]byte, n), ReceivedAt: make([]time.Time, n), Retries: make([]*int32, n), BodySHA256: make([][]byte, n),
	}
	for i, r := range batch {
		e, hash := r.Event, sha256.Sum256(r.Body)
		args.ContextIdentifiers[i], args.EventIDs[i], args.Events[i], args.PrimaryKeys[i] = e.Tenant, uuidOf(r), e.Name, e.PrimaryKey
		args.KeylessSHA256[i], args.ReceivedAt[i], args.Retries[i], args.BodySHA256[i] = r.key.keyless, r.ReceivedAt, r.Retry, hash[:]
		args.Entities[i] = e.Entity
		if e.Occurred != nil {
			args.OccurredTicks[i] = new(int64(*e.Occurred))
		}
	}
	return args
}

func uuidOf(r *request) pgtype.UUID {
	if r.Event.ID == nil {
		return pgtype.UUID{}
	}
	return pgtype.UUID{Bytes: *r.Event.ID, Valid: true}
}

// quarantineArgs has an element for each body.
type quarantineArgs struct {
	ReceivedAt         []time.Time
	Reasons            []string
	ContextIdentifiers []*string
	VouchedFor         []*string // as PostgreSQL writes arrays, for an array of arrays can't be ragged
	VouchedExcept      []*string
	Headers            []string // not bytes, which some query modes would send as bytea
	Signatures         []string
	Verified           []bool
	Bodies             [][]byte
	BodySHA256         [][]byte
	Deliveries         []int32
	Subjects           []string
	Redacted           [][]byte
}

// newQuarantineArgs lays deliveries out in columns, the same bytes once.
func newQuarantineArgs(batch []*request) (quarantineArgs, error) {
	var (
		args       quarantineArgs
		signatures []map[string]time.Time
		place      = map[[sha256.Size]byte]int{}
		types      = pgtype.NewMap()
	)
	for _, r := range batch {
		hash := sha256.Sum256(r.Body)
		tenant, kept := r.kept()
		if tenant != nil && strings.IndexByte(*tenant, 0) >= 0 {
			tenant = nil // a text can't hold a NUL; the bytes are kept
		}
		verified := r.Signature != "" && tenant != nil
		if i, twice := place[hash]; twice {
			args.Deliveries[i]++
			if of := args.ContextIdentifiers[i]; verified && of != nil && *of == *tenant {
				args.Verified[i] = true
			}
			if first, known := signatures[i][r.Signature]; !known || r.ReceivedAt.Before(first) {
				signatures[i][r.Signature] = r.ReceivedAt
			}
			continue
		}
		place[hash] = len(args.Bodies)
		signatures = append(signatures, map[string]time.Time{r.Signature: r.ReceivedAt})
		header, err := json.Marshal(kept)
		if err != nil {
			return quarantineArgs{}, fmt.Errorf("headers: %w", err)
		}
		ids, redacted := erasure.Subjects(tenant, r.Body)
		var vouchers signature.Vouchers
		if tenant == nil {
			vouchers = r.Vouchers
		}
		vouchedFor, err := textArray(types, vouchers.Tenants)
		if err != nil {
			return quarantineArgs{}, fmt.Errorf("tenants that it may be of: %w", err)
		}
		vouchedExcept, err := textArray(types, vouchers.Except)
		if err != nil {
			return quarantineArgs{}, fmt.Errorf("tenants that it is not of: %w", err)
		}
		args.ReceivedAt = append(args.ReceivedAt, r.ReceivedAt)
		args.Reasons = append(args.Reasons, r.Reason)
		args.ContextIdentifiers = append(args.ContextIdentifiers, tenant)
		args.VouchedFor = append(args.VouchedFor, vouchedFor)
		args.VouchedExcept = append(args.VouchedExcept, vouchedExcept)
		args.Headers = append(args.Headers, string(header))
		args.Verified = append(args.Verified, verified)
		args.Bodies = append(args.Bodies, r.Body)
		args.BodySHA256 = append(args.BodySHA256, hash[:])
		args.Deliveries = append(args.Deliveries, 1)
		args.Subjects = append(args.Subjects, arrayOf(ids))
		args.Redacted = append(args.Redacted, redacted)
	}
	for _, s := range signatures {
		text, err := json.Marshal(s)
		if err != nil {
			return quarantineArgs{}, fmt.Errorf("signatures: %w", err)
		}
		args.Signatures = append(args.Signatures, string(text))
	}
	return args, nil
}

// arrayOf writes ids as PostgreSQL does, for an array of arrays can't be ragged.
func arrayOf(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// textArray writes texts as PostgreSQL does; nil for nil.
func textArray(types *pgtype.Map, texts []string) (*string, error) {
	literal, err := types.Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, texts, nil)
	if err != nil || literal == nil {
		return nil, err
	}
	return new(string(literal)), nil
}
