package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
)

// historyCmd shows one contact's timeline.
type historyCmd struct {
	ContactID int64   `arg:"" name:"contact_id" help:"The contact's id."`
	Tenant    *string `placeholder:"TENANT" help:"Its ContextIdentifier; needed where several tenants have the id."`
	JSON      bool    `help:"Print JSON."`
	DatabaseFlags
}

// timeline is what the mirror says of a contact and how that came about.
type timeline struct {
	ContextIdentifier string        `json:"context_identifier"`
	ContactID         int64         `json:"contact_id"`
	Current           audit.Current `json:"current"`
	Entries           []audit.Entry `json:"entries"`
}

// Run prints the timeline, in the order in which things happened at the source.
func (h *historyCmd) Run(ctx context.Context, call *invocation) error {
	if h.ContactID < 1 {
		return misused("contact_id: %d: allowed: 1 and above", h.ContactID)
	}
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error {
		tenant, err := h.tenant(ctx, pool)
		if err != nil {
			return err
		}
		t := timeline{ContextIdentifier: tenant, ContactID: h.ContactID}
		t.Current, t.Entries, err = audit.History(ctx, pool, contact.Key{Tenant: tenant, ID: h.ContactID})
		if err != nil {
			return err
		}
		if len(t.Entries) == 0 {
			return fmt.Errorf("nothing is known of contact %d of tenant %s", h.ContactID, plain(tenant))
		}
		if h.JSON {
			return writeJSON(call.stdout, t)
		}
		return t.write(call.stdout, time.Now())
	})
}

// tenant is the one meant, or the only one that has the contact.
func (h *historyCmd) tenant(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	if h.Tenant != nil {
		return *h.Tenant, nil
	}
	found, err := audit.Tenants(ctx, pool, h.ContactID)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", fmt.Errorf("nothing is known of contact %d", h.ContactID)
	case len(found) > 1:
		names := make([]string, len(found))
		for i, name := range found {
			names[i] = plain(name)
		}
		return "", misused("several tenants have a contact %d: %s; say which with --tenant", h.ContactID, strings.Join(names, ", "))
	}
	return found[0], nil
}

func (t timeline) write(w io.Writer, now time.Time) error {
	fmt.Fprintf(w, "Contact %d of tenant %s: %s\n", t.ContactID, plain(t.ContextIdentifier), t.state(now))
	if t.Current.Live && len(t.Current.PendingColumns) > 0 {
		writeList(w, "Pending, so not known: ", t.Current.PendingColumns)
	}
	for _, e := range t.Entries {
		fmt.Fprintf(w, "\n%s   %s   by %s   %s\n", when(now, e.OccurredAt), plain(strings.TrimPrefix(e.Event, "contact.")), author(e), verdict(e))
		for _, part := range []struct {
			label   string
			details []string
		}{
			{"changed", changes(now, e, "changed")},
			{"noticed, author unknown", changes(now, e, "noticed")},
			{"names no mirrored column", quoted(others(e))},
			{"unreadable", quoted(e.UnreadableColumns)},
		} {
			if len(part.details) > 0 {
				writeList(w, "    "+part.label+"  ", part.details)
			}
		}
	}
	return nil
}

// state says in a few words what the contact is now.
func (t timeline) state(now time.Time) string {
	c := t.Current
	name := ""
	if c.Name != nil {
		name = plain(*c.Name) + ", "
	}
	switch {
	case c.HardDeletedAt != nil:
		return "hard-deleted " + when(now, *c.HardDeletedAt)
	case !c.Live:
		return "not in the mirror"
	case c.SoftDeleted && c.SoftDeletedAt != nil:
		return name + "soft-deleted " + when(now, *c.SoftDeletedAt)
	case c.SoftDeleted:
		return name + "soft-deleted"
	}
	return name + "active"
}

func author(e audit.Entry) string {
	if e.ChangedByAssociateID == nil {
		return "unknown"
	}
	return fmt.Sprint("associate ", *e.ChangedByAssociateID)
}

// verdict is the entry's outcome, and the lifecycle transition that it was.
func verdict(e audit.Entry) string {
	outcome := strings.ReplaceAll(*e.Outcome, "_", " ") // of a fact, as all of the timeline are
	if e.Transition == nil {
		return outcome
	}
	return outcome + ": " + strings.ReplaceAll(*e.Transition, "_", "-")
}

// changes lists the entry's lines of contact_changes of one kind.
func changes(now time.Time, e audit.Entry, kind string) (list []string) {
	for _, change := range e.Changes {
		if change.Kind != kind {
			continue
		}
		name := change.ColumnName
		if c, ok := contact.ByName(name); ok {
			name = c.Spec().Source
		}
		text := plain(name)
		if change.ValueKnown {
			text += " = " + plain(string(change.NewValue))
		}
		if slices.Contains(e.ErasedColumns, name) {
			text += " (erased)"
		}
		switch {
		case change.OldValue != nil && change.NotBefore != nil:
			text += fmt.Sprintf(" (was %s, last said %s)", plain(string(change.OldValue)), when(now, *change.NotBefore))
		case change.OldValue != nil:
			text += " (was " + plain(string(change.OldValue)) + ")"
		}
		list = append(list, text)
	}
	return list
}

// others lists the names in an entry's Changes that are no columns of the mirror.
func others(e audit.Entry) (list []string) {
	for _, name := range e.ChangedColumns {
		if _, ok := contact.BySource(name); !ok {
			list = append(list, name)
		}
	}
	return list
}

func quoted(texts []string) []string {
	list := make([]string, len(texts))
	for i, text := range texts {
		list[i] = plain(text)
	}
	return list
}
