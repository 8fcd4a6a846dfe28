package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"contactmirror/internal/report"
)

// writeReceivers prints the processes, what is wrong with each, and the secrets
// that they verify deliveries by.
func (s standing) writeReceivers(w io.Writer) error {
	if len(s.Receivers) == 0 {
		return nil
	}
	processes := [][]string{{"RECEIVER", "ROLES", "RUNNING", "SPOOL", "LAST ACCEPTED"}}
	secrets := [][]string{{"SECRET OF", "NUMBER", "AT", "LIVE", "LAST MATCHED"}}
	var troubles []string
	for _, r := range s.Receivers {
		processes = append(processes, s.process(r))
		troubles = append(troubles, s.troubles(r)...)
		for _, secret := range r.Secrets {
			secrets = append(secrets, s.secret(r, secret))
		}
	}
	fmt.Fprintln(w)
	if err := writeTable(w, processes); err != nil {
		return err
	}
	if len(secrets) > 1 {
		fmt.Fprintln(w)
		if err := writeTable(w, secrets); err != nil {
			return err
		}
	}
	if len(troubles) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(troubles, "\n"))
	}
	return nil
}

func receiverName(r report.Receiver) string { return fmt.Sprintf("%s:%d", plain(r.Host), r.PID) }

func (s standing) process(r report.Receiver) []string {
	running := "for " + span(s.Now.Sub(r.StartedAt))
	if r.Silent(s.Now) {
		running = "SILENT for " + span(s.Now.Sub(r.HeartbeatAt))
	}
	spool := "empty"
	if r.SpoolRecords > 0 {
		spool = fmt.Sprintf("%s, %s", count(r.SpoolRecords, "delivery", "deliveries"), count(r.SpoolBytes, "byte", "bytes"))
		if r.SpoolOldestAt != nil {
			spool += ", the oldest of " + when(s.Now, *r.SpoolOldestAt)
		}
	}
	if r.MovedAsideFiles > 0 {
		spool += fmt.Sprintf("; %s MOVED ASIDE", count(int64(r.MovedAsideFiles), "file", "files"))
	}
	return []string{receiverName(r), strings.Join(r.Roles, ","), running, spool, ago(s.Now, r.LastAcceptedAt, "nothing yet")}
}

// isSecretWrong is what refusals ask for. In a quiet hour they may be a stranger's.
const isSecretWrong = "is the secret here the one at SuperOffice? " +
	"A stranger can cause this too: change a contact in SuperOffice, and if its delivery is accepted, the secret is right"

func (s standing) troubles(r report.Receiver) []string {
	name := receiverName(r)
	var list []string
	if r.RefusedSince != nil {
		list = append(list, fmt.Sprintf("%s: EVERY DELIVERY REFUSED since %s for its signature, %d so far: %s",
			name, when(s.Now, *r.RefusedSince), r.Refused, isSecretWrong))
	}
	for _, secret := range r.Secrets {
		if secret.RefusedSince != nil && secret.Ordinal == 1 && r.RefusedSince == nil { // all of a tenant's have the same
			list = append(list, fmt.Sprintf("%s: EVERY DELIVERY OF %s REFUSED since %s for its signature: %s",
				name, secretOwner(secret.ContextIdentifier), when(s.Now, *secret.RefusedSince), isSecretWrong))
		}
	}
	if r.MovedAsideFiles > 0 && r.MovedAsideOldestAt != nil {
		list = append(list, fmt.Sprintf("%s: %s MOVED ASIDE IN THE SPOOL: deliveries received since %s that were answered 200 may not be in the database; run `contactmirror spool list` there",
			name, count(int64(r.MovedAsideFiles), "file", "files"), when(s.Now, *r.MovedAsideOldestAt)))
	}
	if r.InboxAwaySince != nil {
		list = append(list, fmt.Sprintf("%s: could not reach the database since %s", name, when(s.Now, *r.InboxAwaySince)))
	}
	if r.WorkerError != nil && r.WorkerFailingSince != nil {
		list = append(list, fmt.Sprintf("%s: CAN'T APPLY EVENTS since %s: %s", name, when(s.Now, *r.WorkerFailingSince), plain(*r.WorkerError)))
	}
	return list
}

func (s standing) secret(r report.Receiver, secret report.Secret) []string {
	matched := ago(s.Now, secret.LastMatchedAt, "not since the start, "+when(s.Now, r.StartedAt))
	return []string{secretOwner(secret.ContextIdentifier), strconv.Itoa(int(secret.Ordinal)), receiverName(r), s.live(secret), matched}
}

// secretOwner is whose secret it is.
func secretOwner(tenant string) string {
	if tenant == "*" {
		return "all others"
	}
	return plain(tenant)
}

// live says when a secret is, where that is not always.
func (s standing) live(secret report.Secret) string {
	switch {
	case secret.NotBefore != nil && secret.NotBefore.After(s.Now):
		return "from " + when(s.Now, *secret.NotBefore)
	case secret.NotAfter != nil && secret.NotAfter.Before(s.Now):
		return "ended " + when(s.Now, *secret.NotAfter)
	case secret.NotAfter != nil:
		return "until " + when(s.Now, *secret.NotAfter)
	}
	return "yes"
}

// ago is how long ago an instant was, never where it was not.
func ago(now time.Time, t *time.Time, never string) string {
	if t == nil {
		return never
	}
	return span(now.Sub(*t)) + " ago"
}
