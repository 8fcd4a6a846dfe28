package migrations

// Relations are those that the list of rights names.
func Relations() []string {
	names := make([]string, len(rights))
	for i, r := range rights {
		names[i] = r.relation
	}
	return names
}
