package dialects

func readTasmota(string, []byte) ([]Part, bool) { return nil, false }
