// Package verify proves that the database still holds what was written into it:
// that the audit log is as the chain says, that the mirror is what the log comes
// to, that the log says what was accepted, and that every event is accounted
// for.
//
// It works at one instant, while events are being applied, and only reads; a
// streaming replica will do. A log of any length is read in streams. What it
// can't check, such as links made with a key that it was not given, is counted
// and told, and never passes for checked.
//
// What no check within the database can find is told from outside: the chains'
// ends, exported earlier ([Heads]), show a log that was cut off or made anew.
package verify
