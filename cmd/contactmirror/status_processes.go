package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"contactmirror/internal/process"
	"contactmirror/internal/report"
)

// processColumns are the headings of what [standing.process] returns.
var processColumns = []string{"HOST:PID", "ROLES", "RUNNING", "SPOOL", "LAST ACCEPTED", "LAST APPLIED"}

// writeProcesses prints the processes, what is wrong with each, and the secrets
// that they verify deliveries with.
func (s standing) writeProcesses(w io.Writer) error {
	if len(s.Processes) == 0 {
		return nil
	}
	processes := [][]string{processColumns}
	secrets := [][]string{{"SECRET OF", "NUMBER", "AT", "LIVE", "LAST MATCHED"}}
	var troubles []string
	for _, p := range s.Processes {
		processes = append(processes, s.process(p))
		troubles = append(troubles, s.troubles(p)...)
		for _, secret := range p.Secrets {
			secrets = append(secrets, s.secret(p, secret))
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

func hostPID(p report.Process) string { return fmt.Sprintf("%s:%d", plain(p.Host), p.PID) }

// process is the line of a process, with a dash for what its roles don't do.
func (s standing) process(p report.Process) []string {
	running := "for " + span(s.Now.Sub(p.StartedAt))
	if s.DatabaseIdentity != "" && p.DatabaseIdentity != s.DatabaseIdentity {
		running = "with another database"
	} else if p.Silent(s.Now) {
		running = "SILENT for " + span(s.Now.Sub(p.HeartbeatAt))
	}
	spool, accepted, applied := "-", "-", "-"
	if slices.Contains(p.Roles, string(process.Receive)) || p.SpoolMovedAsideFiles > 0 {
		spool = "empty"
	}
	if slices.Contains(p.Roles, string(process.Receive)) {
		accepted = ago(s.Now, p.AcceptedAt, "nothing yet")
	}
	if slices.Contains(p.Roles, string(process.Sync)) {
		applied = ago(s.Now, p.AppliedAt, "nothing yet")
	}
	if p.SpoolRecords > 0 {
		spool = fmt.Sprintf("%s, %s", count(p.SpoolRecords, "delivery", "deliveries"), count(p.SpoolBytes, "byte", "bytes"))
		if p.SpoolOldestAt != nil {
			spool += ", the oldest of " + when(s.Now, *p.SpoolOldestAt)
		}
	}
	if p.SpoolError != nil {
		spool = "UNAVAILABLE; last known: " + spool
	}
	if p.SpoolMovedAsideFiles > 0 {
		spool += fmt.Sprintf("; %s MOVED ASIDE", count(int64(p.SpoolMovedAsideFiles), "file", "files"))
	}
	return []string{hostPID(p), strings.Join(p.Roles, ","), running, spool, accepted, applied}
}

// isSecretWrong is what refusals ask for. In a quiet hour they may be a stranger's.
const isSecretWrong = "is the secret here the one at SuperOffice? " +
	"A stranger can cause this too: change a contact in SuperOffice, and if its delivery is accepted, the secret is right"

func (s standing) troubles(p report.Process) []string {
	name := hostPID(p)
	var list []string
	if p.RefusedSince != nil {
		list = append(list, fmt.Sprintf("%s: EVERY SIGNED DELIVERY REFUSED since %s for its signature, %d so far: %s",
			name, when(s.Now, *p.RefusedSince), p.Refused, isSecretWrong))
	}
	for _, secret := range p.Secrets {
		if secret.RefusedSince != nil && secret.Ordinal == 1 && p.RefusedSince == nil { // all of a tenant's have the same
			list = append(list, fmt.Sprintf("%s: EVERY SIGNED DELIVERY OF %s REFUSED since %s for its signature: %s",
				name, secretOwner(secret.ContextIdentifier), when(s.Now, *secret.RefusedSince), isSecretWrong))
		}
	}
	if p.SpoolError != nil && p.SpoolFailingSince != nil {
		list = append(list, fmt.Sprintf("%s: CAN'T OPEN ITS SPOOL since %s, so it can't drain what is there, and answers 503 while the database is away: %s",
			name, when(s.Now, *p.SpoolFailingSince), plain(*p.SpoolError)))
	}
	if p.SpoolMovedAsideFiles > 0 && p.SpoolMovedAsideOldestAt != nil {
		list = append(list, fmt.Sprintf("%s: %s MOVED ASIDE IN THE SPOOL: deliveries received since %s that were answered 200 may not be in the database; run `contactmirror spool list` there",
			name, count(int64(p.SpoolMovedAsideFiles), "file", "files"), when(s.Now, *p.SpoolMovedAsideOldestAt)))
	}
	if p.SpoolingSince != nil {
		list = append(list, fmt.Sprintf("%s: could not reach the database since %s", name, when(s.Now, *p.SpoolingSince)))
	}
	if p.ApplyError != nil && p.ApplyFailingSince != nil {
		list = append(list, fmt.Sprintf("%s: CAN'T APPLY EVENTS since %s: %s", name, when(s.Now, *p.ApplyFailingSince), plain(*p.ApplyError)))
	}
	if p.HorizonError != nil && p.HorizonFailingSince != nil {
		list = append(list, fmt.Sprintf("%s: CAN'T ADVANCE THE CHANGE FEED since %s: %s", name, when(s.Now, *p.HorizonFailingSince), plain(*p.HorizonError)))
	}
	return list
}

func (s standing) secret(p report.Process, secret report.Secret) []string {
	matched := ago(s.Now, secret.MatchedAt, "not since the start, "+when(s.Now, p.StartedAt))
	return []string{secretOwner(secret.ContextIdentifier), strconv.Itoa(int(secret.Ordinal)), hostPID(p), s.live(secret), matched}
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
