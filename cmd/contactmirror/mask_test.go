package main

import "testing"

func TestMaskURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://h/db":                                 "postgres://h/db",
		"postgres://u@h/db":                               "postgres://u@h/db",
		"postgres://u:s3cret@h:5432/db":                   "postgres://u:***@h:5432/db",
		"postgresql://u:s3cret@h1:1,h2:2/db?sslmode=off":  "postgresql://u:***@h1:1,h2:2/db?sslmode=off",
		"postgres://u:s3@cret@h/db":                       "postgres://u:***@h/db",
		"postgres://u:s3/cret@h/db":                       "postgres://u:***@h/db",
		"postgres://u:s3#cret@h/db":                       "postgres://u:***@h/db",
		"postgres://u:s3?cret@h/db":                       "postgres://u:***@h/db",
		"postgres://u:s3@x?cret@h/db":                     "postgres://u:***@x?***",
		"postgres://:s3cret@h/db":                         "postgres://:***@h/db",
		"postgres:///db?host=/tmp&user=u&password=s3cret": "postgres:///db?host=/tmp&user=u&password=***",
		"postgres://h/db?p%61ssword=s3cret":               "postgres://h/db?p%61ssword=***",
		"postgres://h/db?PASSWORD=s3cret&sslpassword=x":   "postgres://h/db?PASSWORD=***&sslpassword=***",
		"postgres://u@h:1/db?application_name=a@b":        "postgres://u@h:1/db?application_name=a@b",
		"host=h password=s3cret dbname=d":                 "host=h password=*** dbname=d",
		"password = 's3 cr\\'et' host=h":                  "password=*** host=h",
		`password=s3\ cret host=h`:                        "password=*** host=h",
		"host=h password=":                                "host=h password=***",
		"host=h password=a://b:c@d":                       "host=h password=***",
		"s3cret":                                          "***",
		"host=h s3cret":                                   "***",
	} {
		if got := maskURL(text); got != want {
			t.Errorf("maskURL(%q): got %q, want %q", text, got, want)
		}
	}
}
