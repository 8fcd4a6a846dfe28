package chain_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"contactmirror/internal/chain"
)

// values are JSON values, nil for NULL.
type values [3][]byte

func commitTo(salt []byte, v values) (chain.Commitment, error) {
	var e chain.Encoder
	for _, doc := range v {
		if err := e.JSON(doc); err != nil {
			return chain.Commitment{}, err
		}
	}
	return chain.NewLinker(nil).Commit(salt, e.Bytes()), nil
}

func commit(t testing.TB, v values) chain.Commitment {
	t.Helper()
	c, err := commitTo(make([]byte, chain.SaltSize), v)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fields(doc string) values { return values{[]byte(doc)} }

// What jsonb does to a document changes nothing, and nor does any other way to
// write the same.
func TestOneMeaningOneCommitment(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{`{}`, ` { } `},
		{`{"name":"a","b":1}`, `{"b": 1, "name": "a"}`},
		{`{"n":100}`, `{"n":1e2}`, `{"n":100.0}`, `{"n":1.00E+2}`, `{"n":1000e-1}`, `{"n":0.001e5}`},
		{`{"n":0}`, `{"n":-0}`, `{"n":0.000}`, `{"n":0e7}`, `{"n":-0.0e-3}`},
		{`{"n":-0.05}`, `{"n":-5e-2}`, `{"n":-0.0500}`},
		{`{"n":9223372036854775807}`, `{"n":9223372036854775807.0}`},
		{`{"s":"\u00e5<\/"}`, `{"s":"å</"}`, `{"\u0073":"å\u003c/"}`},
		{`{"a":["x",{"c":null,"b":[true]}]}`, `{ "a" : [ "x" , {"b":[true],"c":null} ] }`},
	} {
		for _, doc := range same[1:] {
			if commit(t, fields(doc)) != commit(t, fields(same[0])) {
				t.Errorf("%s and %s have different commitments", same[0], doc)
			}
		}
	}
}

func TestOtherMeaningOtherCommitment(t *testing.T) {
	t.Parallel()
	seen := map[chain.Commitment]values{}
	for _, v := range []values{
		{},
		fields(`null`), fields(`{}`), fields(`[]`), fields(`""`), fields(`[{}]`), fields(`[[]]`),
		{1: []byte(`{}`)},
		{2: []byte(`{}`)},
		{0: []byte(`{}`), 1: []byte(`{}`)},
		fields(`{"a":1}`), fields(`{"a":"1"}`), fields(`{"a":true}`), fields(`{"a":"true"}`), fields(`{"a":false}`), fields(`{"a":null}`),
		fields(`{"a":-1}`), fields(`{"a":10}`), fields(`{"a":0.1}`), fields(`{"a":0}`), fields(`{"a":1.1}`), fields(`{"a":11}`), fields(`{"a":1e-20}`),
		fields(`{"A":1}`), fields(`{"a":{"a":1}}`), fields(`{"a":[1]}`), fields(`{"a":[1,1]}`), fields(`{"a":[[1],1]}`), fields(`{"a":[11]}`),
		fields(`{"a":"","b":""}`), fields(`{"a":"b"}`), fields(`{"ab":""}`), fields(`{"a":{"b":1},"c":2}`), fields(`{"a":{"b":1,"c":2}}`),
	} {
		c := commit(t, v)
		if other, ok := seen[c]; ok {
			t.Errorf("%q and %q have one commitment", v, other)
		}
		seen[c] = v
	}
	salted, err := commitTo([]byte("0123456789abcdef"), fields(`{}`))
	if _, ok := seen[salted]; ok || err != nil {
		t.Errorf("the salt makes no difference, %v", err)
	}
}

func TestNoJSON(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{``, `{`, `{"a"}`, `{"a":1,}`, `{} {}`, `{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":01}`, `{"a":"\ud800"}`} {
		if _, err := commitTo(nil, fields(doc)); err == nil {
			t.Errorf("%q: no error", doc)
		}
	}
	// An error leaves nothing behind.
	var used, fresh chain.Encoder
	_ = used.JSON([]byte(`{"z":{"y":1,`))
	used.Reset()
	err := errors.Join(used.JSON([]byte(`{"b":1,"a":2}`)), fresh.JSON([]byte(`{"a":2,"b":1}`)))
	if err != nil || !bytes.Equal(used.Bytes(), fresh.Bytes()) {
		t.Errorf("after an error: %x, want %x, %v", used.Bytes(), fresh.Bytes(), err)
	}
}

// Numbers in any spelling, against arithmetic on their digits.
func TestNumbers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,20}`).Draw(t, "digits")
		shift := rapid.IntRange(0, 25).Draw(t, "shift")
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		plain := sign + digits + strings.Repeat("0", shift)
		scaled := fmt.Sprintf("%s%se%d", sign, digits, shift)
		point := rapid.IntRange(1, len(digits)).Draw(t, "point")
		pointed := fmt.Sprintf("%s%s.%s0E+%d", sign, digits[:point], digits[point:], shift+len(digits)-point)
		a, errA := commitTo(nil, fields(plain))
		b, errB := commitTo(nil, fields(scaled))
		c, errC := commitTo(nil, fields(pointed))
		if a != b || b != c || errA != nil || errB != nil || errC != nil {
			t.Fatalf("%s, %s and %s differ: %v %v %v", plain, scaled, pointed, errA, errB, errC)
		}
	})
}

// A key takes over from none and from another, and its links name it.
func TestKeys(t *testing.T) {
	t.Parallel()
	if _, err := chain.NewKey([]byte("0123456789abcde")); err == nil {
		t.Error("15 bytes are a key")
	}
	one, err1 := chain.NewKey([]byte("0123456789abcdef"))
	two, err2 := chain.NewKey([]byte("fedcba9876543210"))
	if err1 != nil || err2 != nil || one.ID() == two.ID() || one.ID() == (chain.KeyID{}) || (*chain.Key)(nil).ID() != (chain.KeyID{}) {
		t.Fatal(one, two, err1, err2)
	}
	const shard = 3
	row := []byte("the fields of a row")
	open := chain.NewLinker(nil).Next(shard, chain.Head{}, row)
	seal := chain.NewLinker(one).Seal(shard, open)
	if seal == open.Link || seal.Key() != one.ID() || seal == chain.NewLinker(two).Seal(shard, open) {
		t.Errorf("%v is sealed with %v", open, seal)
	}
	if chain.NewLinker(one).Seal(shard+1, open) == seal || chain.NewLinker(one).Seal(shard, chain.Head{Count: 2, Link: open.Link}) == seal {
		t.Error("the seal of one head would do for another")
	}
	keyed := chain.NewLinker(one).Next(shard, open, row)
	if keyed.Link.Key() != one.ID() || keyed.Count != 2 || keyed == chain.NewLinker(two).Next(shard, open, row) {
		t.Errorf("with the key: %v", keyed)
	}
	if lost := chain.NewLinker(nil).Next(shard, keyed, row); lost.Link.Key() != (chain.KeyID{}) || lost.Count != 3 {
		t.Errorf("without the key again: %v", lost)
	}
	if link, ok := chain.ParseLink(seal[:]); !ok || link != seal {
		t.Errorf("read back %v, %v", link, ok)
	}
	if _, ok := chain.ParseLink(seal[:32]); ok {
		t.Error("32 bytes are a link")
	}
}
