package dialects

func readShelly(string, []byte) ([]Part, bool) { return nil, false }
