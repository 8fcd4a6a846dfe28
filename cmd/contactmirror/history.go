package main

import (
	"context"
	"encoding/json"
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
		if details := changes(e); len(details) > 0 {
			writeList(w, "    changed  ", details)
		}
		if len(e.UnreadableColumns) > 0 {
			writeList(w, "    unreadable  ", quoted(e.UnreadableColumns))
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

// changes lists the columns that an entry names, with their values where it
// gives them and those last known before, and then others that it changed or
// that decide on deletion.
func changes(e audit.Entry) []string {
	var values map[string]json.RawMessage
	_ = json.Unmarshal(e.FieldValues, &values) // null, or what the mirror itself wrote
	was := map[string]string{}
	for _, c := range e.Changes {
		if c.OldValue != nil {
			was[c.ColumnName] = " (was " + plain(string(c.OldValue)) + ")"
		}
	}
	describe := func(name string) string {
		text := plain(name)
		if value, ok := values[name]; ok {
			text += " = " + plain(string(value))
		}
		if slices.Contains(e.ErasedColumns, name) {
			text += " (erased)"
		}
		if c, ok := contact.BySource(name); ok {
			text += was[c.Spec().Name]
		}
		return text
	}
	var list []string
	for _, name := range e.ChangedColumns {
		list = append(list, describe(name))
	}
	for _, spec := range contact.Columns {
		_, given := values[spec.Source]
		decides := e.SoftDeleted != nil && *e.SoftDeleted && (spec.Source == "deleted" || spec.Source == "DeletedDate")
		if given && (decides || was[spec.Name] != "") && !slices.Contains(e.ChangedColumns, spec.Source) {
			list = append(list, describe(spec.Source))
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
