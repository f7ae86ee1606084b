package dialects

func readHomie(string, []byte) ([]Part, bool) { return nil, false }
