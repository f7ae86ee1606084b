package document

// Known is for tests: the values of types that have few, by the names of the types.
func Known() map[string][]string {
	all := map[string][]string{}
	for t, form := range known {
		if form.Enum != nil {
			all[t.String()] = form.Enum
		}
	}
	return all
}
