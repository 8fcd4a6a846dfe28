package main

// configCmd shows the settings in force.
type configCmd struct {
	JSON bool `help:"Print JSON."`
	DatabaseFlags
	MigrateFlag
	ReceiveFlags
	AuditFlag
	AdminFlags
	LogFlags
}

// Run prints one row per setting, secrets masked.
func (c *configCmd) Run(call *invocation) error {
	config, err := call.config()
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(call.stdout, config.inForce)
	}
	rows := [][]string{{"SETTING", "VALUE", "SOURCE"}}
	for _, s := range config.inForce {
		value := "(" + s.Note + ")"
		if s.Value != nil {
			value = *s.Value
		}
		source := s.Source
		if s.Source == fromFlag || s.Source == fromFile {
			source += " " + s.From
		}
		rows = append(rows, []string{s.Name, value, source})
	}
	return writeTable(call.stdout, rows)
}
