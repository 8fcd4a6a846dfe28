package admin

import _ "embed"

// Rules is alert rules for what [Metrics] measures, as a file of Prometheus.
//
//go:embed contactmirror.rules.yml
var Rules string
