package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/accept"
	"contactmirror/internal/chain"
	"contactmirror/internal/signature"
	"contactmirror/internal/smallfile"
)

// setting is one setting: how it is called, what it may be, and where its value
// goes.
type setting struct {
	name     string // the environment variable
	allowed  string // what a value may be, for messages
	twin     bool   // name_FILE may name a file that holds the value
	fallback func(*Config) string
	set      func(*Config, string) error
	show     func(string) string  // how a secret is shown; nil shows it as it is
	absent   func(*Config) string // what having no value means
}

// settings in the order in which they are applied: a fallback may look at the
// ones before its own.
var settings = []setting{
	{
		name: "DATABASE_URL", twin: true, show: maskURL,
		allowed: "a PostgreSQL URL such as postgres://user:password@host:5432/database, special characters in it percent-encoded, or libpq's key=value pairs",
		set:     func(c *Config, v string) error { c.DatabaseURL = v; return checkURL(v) },
		absent:  func(*Config) string { return "embedded PostgreSQL in the data directory" },
	},
	{
		name:     "CONTACTMIRROR_DATA_DIR",
		allowed:  "a directory",
		fallback: func(*Config) string { return "./contactmirror-data" },
		set:      func(c *Config, v string) error { c.DataDir = v; return nil },
	},
	{
		name: "CONTACTMIRROR_MIGRATE_URL", show: maskURL,
		allowed:  "a URL as for DATABASE_URL",
		fallback: func(c *Config) string { return c.DatabaseURL },
		set:      setMigrateURL,
		absent:   func(*Config) string { return "embedded PostgreSQL in the data directory" },
	},
	{
		name: "CONTACTMIRROR_LISTEN", allowed: "HOST:PORT, such as 127.0.0.1:8080, or :8080 for every address",
		fallback: defaultListen,
		set:      func(c *Config, v string) error { c.Listen = v; return checkAddress(v) },
	},
	{
		name: "CONTACTMIRROR_ADMIN_LISTEN", allowed: "HOST:PORT, such as 127.0.0.1:8081, or off",
		fallback: func(*Config) string { return "127.0.0.1:8081" },
		set:      setAdminListen,
	},
	{
		name: "CONTACTMIRROR_ADMIN_TOKEN", twin: true, show: maskSecret,
		allowed: "one line of text",
		set:     setAdminToken,
		absent:  func(*Config) string { return "none" },
	},
	{
		name: "CONTACTMIRROR_SECRET", twin: true, show: maskSecrets,
		allowed: "the webhook's secret; several on a line each",
		set:     setSecrets,
		absent:  absentSecret,
	},
	{
		name: "CONTACTMIRROR_TENANT_SECRETS_FILE", allowed: `the path of a JSON file such as {"Cust1234": [{"secret": "…"}]}`,
		set:    setTenantSecrets,
		absent: func(*Config) string { return "none" },
	},
	{
		name: "CONTACTMIRROR_ALLOW_UNSIGNED", allowed: "true or false",
		fallback: func(*Config) string { return "false" },
		set:      setAllowUnsigned,
	},
	{
		name: "CONTACTMIRROR_MAX_BODY", allowed: "bytes, or a number with KiB or MiB, such as 512KiB; from 1KiB to 64MiB",
		fallback: func(*Config) string { return "1MiB" },
		set:      setMaxBody,
	},
	{
		name: "CONTACTMIRROR_SPOOL_LIMIT", allowed: "bytes, or a number with KiB, MiB or GiB, such as 512MiB; from 1MiB to 1024GiB",
		fallback: func(*Config) string { return "1GiB" },
		set: func(c *Config, v string) (err error) {
			c.SpoolLimit, err = parseSize(v, 1<<20, 1<<40)
			return err
		},
	},
	{
		name: "CONTACTMIRROR_BODY_RETENTION", allowed: retentionAllowed + "; or forever",
		fallback: func(*Config) string { return "90d" },
		set: func(c *Config, v string) (err error) {
			c.Retention.Bodies, err = parseRetentionOrForever(v)
			return err
		},
	},
	{
		name: "CONTACTMIRROR_IGNORED_RETENTION", allowed: retentionAllowed + "; or forever",
		fallback: func(*Config) string { return "7d" },
		set: func(c *Config, v string) (err error) {
			c.Retention.Ignored, err = parseRetentionOrForever(v)
			return err
		},
	},
	{
		name: "CONTACTMIRROR_AUDIT_KEY", twin: true, show: maskAuditKeys,
		allowed: "16 bytes or more, such as the output of openssl rand -hex 32; several on a line each",
		set: func(c *Config, v string) (err error) {
			c.AuditKeys, err = chain.ParseKeys(v)
			return err
		},
		absent: func(*Config) string { return "none" },
	},
	{
		name: "CONTACTMIRROR_LOG_FORMAT", allowed: "auto (text on a terminal, JSON otherwise), text or json",
		fallback: func(*Config) string { return "auto" },
		set:      setLogFormat,
	},
	{
		name: "CONTACTMIRROR_LOG_LEVEL", allowed: "debug, info, warn or error",
		fallback: func(*Config) string { return "info" },
		set:      setLogLevel,
	},
}

// checkURL returns why text is no database URL, in words that hold no part of
// a password: what a parser quotes of a malformed URL may be one.
func checkURL(text string) error {
	_, err := pgxpool.ParseConfig(text)
	if err == nil {
		return nil
	}
	_, reason, quoted := strings.Cut(err.Error(), "`: ")
	if !quoted || strings.Contains(reason, "failed to parse") {
		return errors.New("can't be read")
	}
	return errors.New(reason)
}

func setMigrateURL(c *Config, v string) error {
	c.MigrateURL = v
	if c.Embedded() {
		return errors.New("goes with DATABASE_URL, which is not set")
	}
	return checkURL(v)
}

// defaultListen keeps a first try on this machine private; a deployment with
// its own database means to be reached.
func defaultListen(c *Config) string {
	if c.Embedded() {
		return "127.0.0.1:8080"
	}
	return ":8080"
}

func setAdminListen(c *Config, v string) error {
	if v == "off" {
		return nil
	}
	c.AdminListen = v
	return checkAddress(v)
}

func setAdminToken(c *Config, v string) error {
	c.AdminToken = v
	if strings.ContainsAny(v, "\r\n") {
		return errors.New("has several lines")
	}
	return nil
}

func setSecrets(c *Config, v string) (err error) {
	c.Secrets, err = signature.ParseSecrets(v)
	if err == nil && len(c.Secrets) == 0 {
		return errors.New("holds no secret")
	}
	return err
}

func maskSecrets(v string) string {
	if secrets, _ := signature.ParseSecrets(v); len(secrets) > 1 {
		return fmt.Sprintf("%s (%d secrets)", masked, len(secrets))
	}
	return masked
}

func maskAuditKeys(v string) string {
	if keys, _ := chain.ParseKeys(v); len(keys) > 1 {
		return fmt.Sprintf("%s (%d keys)", masked, len(keys))
	}
	return masked
}

func setTenantSecrets(c *Config, path string) error {
	content, err := smallfile.Read(path)
	if err != nil {
		return err
	}
	c.TenantSecrets, err = signature.ParseTenantSecrets(content)
	return err
}

func absentSecret(c *Config) string {
	if c.Embedded() {
		return "generated, in " + filepath.Join(c.DataDir, secretFile)
	}
	return "none"
}

func setAllowUnsigned(c *Config, v string) error {
	c.AllowUnsigned = v == "true"
	if v != "true" && v != "false" {
		return errNotAllowed
	}
	return nil
}

func setMaxBody(c *Config, v string) (err error) {
	c.MaxBody, err = parseSize(v, 1<<10, accept.MaxBody)
	return err
}

// parseSize reads a number of bytes from least to most.
func parseSize(v string, least, most int64) (int64, error) {
	digits, unit := v, int64(1)
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if number, has := strings.CutSuffix(v, suffix); has {
			digits, unit = number, bytes
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > most/unit || n*unit < least {
		return 0, errNotAllowed
	}
	return n * unit, nil
}

func setLogFormat(c *Config, v string) error {
	c.LogFormat = v
	if !slices.Contains([]string{"auto", "text", "json"}, v) {
		return errNotAllowed
	}
	return nil
}

func setLogLevel(c *Config, v string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, v) {
		return errNotAllowed
	}
	return c.LogLevel.UnmarshalText([]byte(v))
}

func checkAddress(v string) error {
	host, port, err := net.SplitHostPort(v)
	if err != nil || strings.ContainsAny(host, "/ \t") {
		return errNotAllowed
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errNotAllowed
	}
	return nil
}

// loopback reports whether only this machine reaches a listener on address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// localURL is how this machine reaches path of a listener on address. One on
// every address takes IPv4 too, and containers often have no ::1.
func localURL(address, path string) string {
	host, port, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	if host == "" || err == nil && ip.Unmap().IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + path
}
