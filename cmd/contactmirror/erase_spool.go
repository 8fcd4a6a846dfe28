package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"contactmirror/internal/accept"
	"contactmirror/internal/contact"
	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/spool"
)

// spooledFile is a spool file that was moved aside and holds, or may hold, deliveries
// about a contact.
type spooledFile struct {
	Name string `json:"name"`
	// Deliveries is how many of its deliveries are about the contact, or may be.
	Deliveries int `json:"deliveries"`
	// UnreadableBytes may be of more.
	UnreadableBytes int64 `json:"unreadable_bytes"`
}

// spooledAbout looks through the spool files in dir that were moved aside. A directory
// that does not exist has none: the receivers are on other machines.
func spooledAbout(dir string, key contact.Key) ([]spooledFile, error) {
	found := []spooledFile{}
	files, err := spool.Files(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found, nil
	case err != nil:
		return found, err
	}
	for _, f := range files {
		c, err := spool.Read(dir, f.Name)
		if errors.Is(err, spool.ErrNotMovedAside) {
			continue // retried or discarded meanwhile
		}
		if err != nil {
			return found, err
		}
		s := spooledFile{Name: f.Name, UnreadableBytes: c.UnreadableBytes}
		for _, r := range c.Readable {
			if d := accept.Decode(r); about(&d, key) {
				s.Deliveries++
			}
		}
		if s.Deliveries > 0 || s.UnreadableBytes > 0 || c.Problem != "" {
			found = append(found, s)
		}
	}
	return found, nil
}

// about reports whether d is about the contact of key, or may be.
func about(d *inbox.Delivery, key contact.Key) bool {
	if e := d.Event; e != nil {
		return e.OfContact() && e.Tenant == key.Tenant && e.PrimaryKey != nil && *e.PrimaryKey == key.ID
	}
	if d.Tenant != nil && *d.Tenant != key.Tenant {
		return false
	}
	ids, told := event.Subjects(d.Body)
	return !told || slices.Contains(ids, key.ID)
}

func writeSpooledAbout(w io.Writer, files []spooledFile) {
	for _, f := range files {
		holds := "can't be read to its end, and may hold deliveries about the contact"
		if f.Deliveries > 0 {
			holds = "holds " + count(int64(f.Deliveries), "delivery", "deliveries") + " about the contact"
		}
		fmt.Fprintf(w, "The spool file %s %s, with their values: `contactmirror spool retry %[1]s` stores them without, `contactmirror spool discard %[1]s` deletes them\n", f.Name, holds)
	}
}
