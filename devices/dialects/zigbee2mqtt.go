package dialects

func readZigbee2MQTT(string, []byte) ([]Part, bool) { return nil, false }
