package receive

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"contactmirror/internal/signature"
)

// retries is the sender's count of earlier attempts at a delivery: 0 where the
// header is missing, as on a first attempt, and nil where it is no number.
func retries(h http.Header) *int32 {
	var n int64
	if values := h.Values("X-SuperOffice-Retry"); len(values) > 0 {
		var err error
		if n, err = strconv.ParseInt(values[0], 10, 32); err != nil {
			return nil
		}
	}
	retry := int32(n)
	return &retry
}

// credentialWords are the parts of a header's name, in lower case, that mean
// its value may let somebody in somewhere. A webhook can be given headers of
// any name, so too many are masked rather than too few.
var credentialWords = []string{"auth", "cookie", "credential", "key", "passw", "pwd", "secret", "session", "token"}

// keptHeaders copies h for quarantine: credentials masked, the signature as it
// came (it tells nothing of its secret), and all of it valid UTF-8.
func keptHeaders(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		for _, value := range values {
			if credential(name) {
				value = "[masked]"
			}
			kept[name] = append(kept[name], strings.ToValidUTF8(value, "\ufffd"))
		}
	}
	return kept
}

func credential(name string) bool {
	if strings.EqualFold(name, signature.Header) {
		return false
	}
	name = strings.ToLower(name)
	for _, word := range credentialWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// retryNumbers are what [Receiver.Retries] tells apart.
var retryNumbers = [...]string{"0", "1", "2", "more", "unreadable"}

// retryTally counts deliveries by their retry number.
type retryTally [len(retryNumbers)]atomic.Uint64

func (t *retryTally) count(retry *int32) {
	const more, unreadable = 3, 4
	place := int32(unreadable)
	if retry != nil && *retry >= 0 {
		place = min(*retry, more)
	}
	t[place].Add(1)
}

func (t *retryTally) snapshot() map[string]uint64 {
	counts := make(map[string]uint64, len(retryNumbers))
	for i, number := range retryNumbers {
		counts[number] = t[i].Load()
	}
	return counts
}
